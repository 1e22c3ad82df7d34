"""Which pipeline extends which, by their files as they are written."""

from __future__ import annotations

from functools import cached_property

from stages.errors import SpecError
from stages.spec.files import Files
from stages.spec.nodes import Document


class Lineages:
    """Of the pipelines in specs/. Files are read once, at the first need."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._above: dict[str, str | None] = {}  # read hundreds of times in one check

    def extends(self, name: str) -> str | None:
        """What a pipeline extends; of a file that cannot be read nothing is known."""
        if name not in self._above:
            extends = None if self.broken(name) else self._own(name).value.get("extends")
            self._above[name] = None if extends is None else str(extends)
        return self._above[name]

    def of(self, name: str) -> list[str]:
        """A pipeline and what it extends, up to one that extends none; a loop ends where it closes."""
        found, known = [name], self._files.pipelines()
        while (above := self.extends(found[-1])) is not None and above in known and above not in found:
            found.append(above)
        return found

    def takers(self, name: str) -> dict[str, Document]:
        """Those that take a pipeline's entry of a scale, itself first, where they have none of their own."""
        return {one: self._own(one) for one in self._takers[name]}

    def broken(self, name: str) -> bool:
        """Whether a pipeline's file cannot be read at all, which is an error where the pipeline is loaded."""
        try:
            self._own(name)
        except SpecError:
            return True
        return False

    @cached_property
    def any_broken(self) -> bool:
        """Whether there is such a file."""
        return any(map(self.broken, self._files.pipelines()))

    @cached_property
    def _takers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._files.pipelines():
            for above in self.of(name):
                found.setdefault(above, []).append(name)
        return found

    def _own(self, name: str) -> Document:
        """A pipeline's file as it is written."""
        return self._files.document(self._files.specs / name / "pipeline.yaml")
