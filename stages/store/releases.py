"""The folder of released models that a user names: a folder in it for each, called as the release is."""

from __future__ import annotations

from pathlib import Path

from stages.errors import UsageError


def folders(given: Path | None, option: str = "--releases") -> dict[str, Path]:
    """Release -> its folder, of the folder that an option names; none without one. Raises UsageError for any other."""
    if given is None:
        return {}
    if not given.is_dir():
        raise UsageError(f"{option}: {given} is not a folder; it should have one folder per released model.")
    if (given / "config.json").is_file():
        raise UsageError(
            f"{option}: {given} is a model's own folder; allowed: the folder around it, which has one folder per "
            "released model, called as the release is."
        )
    return {path.name: path.resolve() for path in sorted(given.iterdir()) if path.is_dir()}
