"""Specs of a new pipeline: its name, and all of its files or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.errors import UsageError
from stages.spec.names import ALLOWED, TAKEN, is_name
from stages.store.files import write_atomic


def check_name(option: str, name: str, specs: Path, others: tuple[Path, ...] = ()) -> None:
    """Raise UsageError unless a pipeline may be called so and neither its folder nor one of `others` is there."""
    if not is_name(name):
        raise UsageError(f"{option}: found {name!r}; allowed: {ALLOWED}.")
    if name in TAKEN:
        raise UsageError(f"{option}: found {name!r}, which means something else here; choose another name.")
    for place in (specs / name, *others):
        if place.exists() or place.is_symlink():
            raise UsageError(f"{option}: {place.relative_to(specs.parent)} is there already; choose another name.")


def write(specs: Path, texts: Mapping[str, str], check: Callable[[], object]) -> None:
    """Write files of specs/ by their paths in it, and call `check`.

    Where either fails, or is interrupted, files that were there are as before, and folders of new pipelines are gone.
    """
    before = {path: (specs / path).read_bytes() if (specs / path).exists() else None for path in texts}
    added = {Path(path).parts[0] for path, data in before.items() if data is None and path.endswith("/pipeline.yaml")}
    try:
        for path, text in texts.items():
            write_atomic(specs / path, text.encode())
        check()
    except BaseException:
        for path, data in before.items():
            if data is None:
                (specs / path).unlink(missing_ok=True)
            else:
                write_atomic(specs / path, data)
        for name in added:
            shutil.rmtree(specs / name, ignore_errors=True)
        raise
