"""Citations of papers that are still to come: digits of a year that were exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from stages.errors import InvalidSpecs
from stages.spec.fields import ARXIV, ARXIV_ID
from stages.spec.nodes import Document, Path, Tree
from stages.spec.project import Project

KNOWN = (2026, 11)  # year and month that have passed, whatever a machine's clock says


def to_come(project: Project) -> Iterator[str]:
    """A notice for each citation whose number arXiv gives in a later month than this one."""
    today = datetime.now(UTC)
    latest = max(KNOWN, (today.year, today.month))
    for path in sorted(project.files.specs.glob("*/*.yaml")):
        try:
            document = project.files.document(path)
        except InvalidSpecs:  # a finding
            continue
        yield from _of_file(document, latest)


def _of_file(document: Document, latest: tuple[int, int]) -> Iterator[str]:
    for path, text in _cited(document.value, ()):
        for number in ARXIV.findall(text):
            id = number.rstrip(".")
            if ARXIV_ID.fullmatch(id) and (date := (2000 + int(id[:2]), int(id[2:4]))) > latest:
                yield f"{document.where(path)}: arXiv {id} is a number of {date[0]}-{date[1]:02}, which is to come."


def _cited(tree: Tree, path: Path) -> Iterator[tuple[Path, str]]:
    """Every citation of a file, and its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "citation" and isinstance(value, str):
                yield (*path, key), value
            yield from _cited(value, (*path, key))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from _cited(value, (*path, number))
