"""What a spec requests of lm-evaluation-harness and has not found yet, and whether it is installed here.

The harness is a program of its own, which a machine may lack. A result without its figures is whole and done, and says
so; where the harness is installed, the result is to be evaluated.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import stages
from stages.spec.resolved import LmEval, Stage
from stages.store import evaluated, json_file
from stages.store.digest import digest_bytes
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout

ENVIRONMENT = ".venv-lm-eval"  # that `make lm-eval` makes
DEFINITIONS = (".yaml", ".yml", ".py")  # of tasks
CODE = Path(stages.__file__).parent.parent


def missing(layout: Layout, ref: str, stage: Stage) -> tuple[str, ...]:
    """The tasks that a stage's spec names and its result has no figures of, as they are requested now."""
    requested = stage.evaluation.lm_eval
    if requested is None:
        return ()
    found = _found(layout.stage(ref) / evaluated.RESULT)
    wanted = {"limit": requested.limit, **definitions(folder(layout, requested))}
    return tuple(task for task in requested.tasks if not _has(found.get(task), wanted))


def _found(path: Path) -> Mapping[str, Any]:
    with suppress(JsonFileError, KeyError, TypeError):
        section = json_file.read(path)["after"].get(evaluated.OUTSIDE, {})
        return section if isinstance(section, dict) else {}
    return {}


def _has(entry: object, wanted: Mapping[str, Any]) -> bool:
    if not isinstance(entry, dict):
        return False
    return {name: entry.get(name) for name in ("limit", "definitions")} == {"definitions": None, **wanted}


def folder(layout: Layout, requested: LmEval) -> Path | None:
    """Where a spec's own tasks lie."""
    return None if requested.folder is None else layout.root / requested.folder


def definitions(own: Path | None) -> dict[str, str]:
    """A digest of the files that define a user's own tasks; nothing where there are none."""
    if own is None:
        return {}
    files = sorted(path for path in own.rglob("*") if path.suffix in DEFINITIONS and path.is_file())
    parts = (f"{path.relative_to(own).as_posix()}\0".encode() + path.read_bytes() for path in files)
    return {"definitions": digest_bytes(b"\0".join(parts))[:16]}


def installed(root: Path) -> Path | None:
    """The interpreter that has the harness: this one, or that of the environment in the project or next to the code."""
    if importlib.util.find_spec("lm_eval") is not None:
        return Path(sys.executable)
    for place in (root / ENVIRONMENT, CODE / ENVIRONMENT):
        if any(place.glob("lib/python3*/site-packages/lm_eval/__init__.py")):
            return place / "bin/python"
    return None
