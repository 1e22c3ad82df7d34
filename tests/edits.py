"""Edits of files and texts that a test makes, each of which finds what it is to replace."""

from __future__ import annotations

from pathlib import Path


def replaced(text: str, old: str, new: str) -> str:
    """A text with `new` in the place of every `old`, of which there is at least one."""
    assert old in text, f"{old!r} does not stand in it"
    return text.replace(old, new)


def edit(path: Path, old: str, new: str) -> None:
    """The same in a file."""
    path.write_text(replaced(path.read_text(), old, new))
