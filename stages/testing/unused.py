"""Goldens of `curve` that no test used: their test is gone, or is called otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDER = "curves"  # of goldens, next to the file of a test
Report = tuple[str, str, Any]


def found(config: pytest.Config, reported: Iterable[Report], files: Mapping[str, bool]) -> list[Report]:
    """A report on each, as `stages-unused`, or as a change where an update was requested.

    Judged are files of tests that ran as a whole and passed, and goldens of files that there are no longer.
    """
    used = {str(value) for _, name, value in reported if name == "stages-used"}
    left = [path for path in _goldens(config, files) if str(path) not in used]
    if not config.getoption("stages_update"):
        return [("", "stages-unused", str(path)) for path in left]
    return [("", "stages-change", removal(path, "test")) for path in left]


def _goldens(config: pytest.Config, files: Mapping[str, bool]) -> Iterator[Path]:
    typed = [arg.partition("::")[0] for arg in config.args if "::" in arg]  # some tests of these files were selected
    partly = {(config.invocation_params.dir / file).resolve() for file in typed}
    passed = [config.rootpath / file for file, every in files.items() if every]
    whole = {path for path in passed if path.resolve() not in partly}
    for parent in dict.fromkeys(path.parent for path in whole):
        for folder in sorted((parent / FOLDER).glob("*/")):
            source = parent / f"{folder.name}.py"
            if source in whole or not source.exists():
                # Imported here, since every session of an environment that has this package comes by.
                from stages.testing import golden

                # Other people's files may be called so too.
                yield from (path for path in sorted(folder.glob("*.yaml")) if golden.written(path))


def removal(path: Path, of: str) -> dict[str, Any]:
    """What an update does with a golden that belongs to no stage, or to no test."""
    row = [str(path), f"of no {of}: removed", "", ""]
    return {"path": str(path), "environment": "", "golden": None, "about": {}, "row": row}
