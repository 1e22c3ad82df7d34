"""A page of docs/ as files and commands: what the page says is what is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = ("yaml", "python")


@dataclass(frozen=True)
class Page:
    """A page of docs/ by its name."""

    name: str

    @property
    def text(self) -> str:
        return (DOCS / self.name).read_text(encoding="utf-8")

    def blocks(self) -> list[tuple[str, str]]:
        """(language, content) of the page's blocks, in order."""
        return BLOCK.findall(self.text)

    def files(self) -> dict[str, str]:
        """Files by the path that their first line says."""
        return {file_of(text): text for language, text in self.blocks() if language in FILES}


def file_of(text: str) -> str:
    """The path that the first line of a file's block says."""
    return text.split("\n", 1)[0].removeprefix("# ")


def write(root: Path, name: str, text: str) -> None:
    """A file of a page, in the directory in which it is typed."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
