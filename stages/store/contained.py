"""Files of folders that others fill: a link may not lead out of them, and a pipe is never opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.errors import UserError


def contained(path: Path, within: Sequence[Path], where: str, repair: str) -> Path | None:
    """The regular file that a path means, links followed; None where nothing has that name.

    Raises UserError, which begins with `where` and ends with what to do, for a link that leads nowhere or out of all
    folders of `within`, for what cannot be reached, and for what is no regular file: a pipe would be waited for.
    """
    try:
        real = path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UserError(f"{where}: a link that leads nowhere. {repair}") from None
        return None
    except (OSError, RuntimeError) as error:  # links in a circle are either, by the version of Python
        raise UserError(f"{where}: cannot be reached ({error}). {repair}") from None
    if not any(real.is_relative_to(folder.resolve()) for folder in within):
        raise UserError(f"{where}: a link that leads out of {within[0]}, to {real}. {repair}")
    if not real.is_file():
        raise UserError(f"{where}: not a regular file. {repair}")
    return real
