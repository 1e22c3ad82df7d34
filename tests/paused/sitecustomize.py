"""Put on PYTHONPATH by tests that disturb a stage under way: it reports every step, and waits where the test says.

In the folder $WATCHED: each step of a box is a line of `<box>.steps`, written at once; as long as there is a file
`<box>.hold`, the box waits after the step whose number it holds, unless it is asked to stop. So a test meets it in the
middle however slow or fast the machine is, and counts what was done twice instead of timing it.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.spec.resolved_phases import Phase
    from stages.train.checkpoint import Counters
    from stages.train.loop import Run
    from stages.train.stepper import Stepper


def _watched(record: Callable[..., None]) -> Callable[..., None]:
    def wrapped(run: Run, phase: Phase, stepper: Stepper, counters: Counters, *rest: Any) -> None:
        record(run, phase, stepper, counters, *rest)
        box = Path(os.environ["WATCHED"]) / run.stage.name
        with box.with_suffix(".steps").open("a") as steps:
            steps.write(f"{counters.steps}\n")
        while counters.steps >= _until(box.with_suffix(".hold")) and not run.stop.requested:
            time.sleep(0.02)

    return wrapped


def _until(hold: Path) -> float:
    try:
        return int(hold.read_text())
    except FileNotFoundError:
        return float("inf")


class _Watching(importlib.abc.MetaPathFinder):
    """Wraps `record` of the training loop when that is imported: to import it here would have everybody wait for it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "stages.train.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            from stages.train import loop  # this module, by the name that a type checker knows

            loop.record = _watched(loop.record)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "WATCHED" in os.environ:
    sys.meta_path.insert(0, _Watching())
