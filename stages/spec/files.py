"""The files below specs/, each read once; what is true of every one of them: its name, and sources for its figures."""

from __future__ import annotations

import stat
from itertools import islice
from pathlib import Path as FilePath

from stages.errors import SpecError, UserError, Where
from stages.spec import nodes, quantities
from stages.spec.fields import Raw
from stages.spec.names import ALLOWED, NOT_PIPELINES, TAKEN, is_name
from stages.spec.nodes import Document
from stages.spec.sources import RawSource, uncovered
from stages.spec.validate import MANY, several, validate


def read(path: FilePath, shown: str) -> bytes:
    """The bytes of a file, of which no more are read than a spec may have. Raises SpecError.

    A pipe has no writer and a device no end: neither is opened.
    """
    try:
        if (what := _no_file(path.stat().st_mode)) is not None:
            raise SpecError(Where(shown, 1), "the file", what, "a file", "Write a file of this name, or remove it.")
        with path.open("rb") as file:
            return file.read(nodes.MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(
            Where(shown, 1), "the file", error.strerror or "an unreadable file", "a readable file",
            "Write it, correct its permissions, or take its name out of the list that names it.",
        ) from None  # fmt: skip


def _no_file(mode: int) -> str | None:
    """What a path leads to where it is no regular file."""
    if stat.S_ISREG(mode):
        return None
    return "a directory" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"


class Files:
    """The files below specs/, each read once."""

    def __init__(self, root: FilePath) -> None:
        self.root, self.specs = root, root / "specs"
        if not self.specs.is_dir():
            raise UserError(f"{self.specs}: there is no folder specs/ here. Run the command in the project's root.")
        self._documents: dict[FilePath, Document | SpecError] = {}
        self._pipelines: list[str] | None = None

    def relative(self, path: FilePath) -> str:
        """The path as messages show it."""
        return path.relative_to(self.root).as_posix()

    def document(self, path: FilePath) -> Document:
        """A file's document. Raises SpecError."""
        if path not in self._documents:
            shown = self.relative(path)
            try:
                self._documents[path] = nodes.parse(read(path, shown), shown)
            except SpecError as error:
                self._documents[path] = error
        found = self._documents[path]
        if isinstance(found, SpecError):
            raise found
        return found

    def entry(self, folder: str, name: str) -> Document:
        """The document of specs/<folder>/<name>.yaml. Raises SpecError."""
        return self.document(self.specs / folder / f"{name}.yaml")

    def names(self, folder: str) -> list[str]:
        """The stems of the YAML files in a folder of specs/."""
        return sorted(path.stem for path in (self.specs / folder).glob("*.yaml"))

    def pipelines(self) -> list[str]:
        """Folders of specs/ that contain a pipeline.yaml, as they were at the first call."""
        if self._pipelines is None:
            found = sorted(path.parent.name for path in self.specs.glob("*/pipeline.yaml"))
            self._pipelines = [name for name in found if name not in NOT_PIPELINES]
        return list(self._pipelines)


def written_by(pipeline: str, where: Where) -> bool:
    """Whether a line is in a file of the pipeline itself, and not of what it extends."""
    return where.file.startswith(f"specs/{pipeline}/")


def check_sources(document: Document) -> None:
    """Raises for figures that the file's own `sources:` do not cover."""
    wrapped = {"sources": document.value.get("sources", [])}
    checked = validate(Document(wrapped, document.places), _Sources)
    errors = list(islice(uncovered(document, checked.sources), MANY))
    if errors:
        raise several(errors)


class _Sources(Raw):
    """The list under `sources:` alone: a variant's files are only whole after merging, their sources before."""

    sources: list[RawSource]


def check_name(document: Document, key: str, name: str) -> None:
    """Raises for a file whose `key` is another name than the file's, or a name that nothing may have."""
    found = document.value.get(key)
    if found != name:
        repair = f"Add `{key}: {name}`." if found is None else "A spec is named as its file is."
        raise document.error((key,), quantities.describe(found), repr(name), repair)
    if not is_name(name):
        raise document.error((key,), repr(name), ALLOWED, "Rename the file, and whatever names it.")
    if key == "pipeline" and name in TAKEN:
        raise document.error((key,), f"{name!r}, which means something else here", "another name", "Rename the folder.")
