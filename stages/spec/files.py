"""The files below specs/, each read once; what holds for every one of them: its name, and sources for its figures."""

from __future__ import annotations

from pathlib import Path as FilePath

from stages.errors import SpecError, UserError, Where
from stages.spec import nodes, units
from stages.spec.fields import Raw
from stages.spec.nodes import Document
from stages.spec.sources import RawSource, uncovered
from stages.spec.validate import several, validate

NOT_PIPELINES = frozenset({"data", "scales", "hardware"})


class Files:
    """The files below specs/, each read once."""

    def __init__(self, root: FilePath) -> None:
        self.root, self.specs = root, root / "specs"
        if not self.specs.is_dir():
            raise UserError(f"{self.specs}: there is no folder specs/ here. Run the command in the project's root.")
        self._documents: dict[FilePath, Document] = {}

    def relative(self, path: FilePath) -> str:
        """The path as messages show it."""
        return path.relative_to(self.root).as_posix()

    def document(self, path: FilePath) -> Document:
        """A file's document. Raises SpecError."""
        if path not in self._documents:
            try:
                data = path.read_bytes()
            except OSError as error:
                raise SpecError(
                    Where(self.relative(path), 1),
                    "the file",
                    error.strerror or "an unreadable file",
                    "a readable file",
                    "Write it, or take its name out of the list that holds it.",
                ) from None
            self._documents[path] = nodes.parse(data, self.relative(path))
        return self._documents[path]

    def names(self, folder: str) -> list[str]:
        """The stems of the YAML files in a folder of specs/."""
        return sorted(path.stem for path in (self.specs / folder).glob("*.yaml"))

    def pipelines(self) -> list[str]:
        """Folders of specs/ that hold a pipeline.yaml."""
        found = sorted(path.parent.name for path in self.specs.glob("*/pipeline.yaml"))
        return [name for name in found if name not in NOT_PIPELINES]


def check_sources(document: Document) -> None:
    """Raises for figures that the file's own `sources:` do not cover."""
    wrapped = {"sources": document.value.get("sources", [])}
    checked = validate(Document(wrapped, document.places), _Sources)
    errors = list(uncovered(document, checked.sources))
    if errors:
        raise several(errors)


class _Sources(Raw):
    """The list under `sources:` alone: a reading's files are only whole after merging, their sources before."""

    sources: list[RawSource]


def check_name(document: Document, key: str, name: str) -> None:
    """Raises for a file whose `key` is another name than the file's."""
    found = document.value.get(key)
    if found != name:
        raise document.error((key,), units.describe(found), repr(name), "A spec is named as its file is.")
