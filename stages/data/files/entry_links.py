"""Links to folders that a pattern passes over: `**` does not follow them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.errors import UserError


def hidden(path: Path) -> bool:
    """Whether a path, relative to where a pattern begins, is left out by it."""
    return any(part.startswith(".") for part in path.parts)


def refuse_passed_over(base: Path, name: str, found: Sequence[Path], where: str) -> None:
    """Raise UserError where the pattern `name`, which has `found` files below `base`, passes over a link to a folder
    that has further ones.
    """
    before, stars, behind = name.partition("**/")
    if not stars:
        return
    real = {path.resolve() for path in found}
    links = (path for path in base.glob(f"{before}**/*") if path.is_symlink() and path.is_dir())
    for link in sorted(path for path in links if not hidden(path.relative_to(base))):
        if any(path.resolve() not in real for path in link.glob(f"**/{behind}")):
            raise UserError(
                f"{where}: {link.relative_to(base).as_posix()} is a link to a folder with files that the pattern "
                "means, and ** does not follow links. Name what it leads to in the list of paths, or remove it."
            )
