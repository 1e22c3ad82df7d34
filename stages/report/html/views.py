"""What the report has of each stage: its verdict, and whatever of its result can be read.

A file that cannot be read costs a line in the report, and hides nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from stages.errors import UserError, in_words
from stages.report.metrics import (
    FRACTIONAL,
    WHOLE,
    checked,
    flatten,
    read_json,
    read_metrics,
    read_run,
    read_stage,
    read_timing,
)
from stages.spec.resolved import Stage
from stages.store import live, manifest
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.store.manifest import Manifest
from stages.store.run_record import RunRecord

T = TypeVar("T")
NEEDED = ("phase", *WHOLE, *FRACTIONAL)
FINISHED = ("done", "unevaluated")  # states in which the result in place is the wanted one, to be evaluated or not


@dataclass
class View:
    """One stage. `number` is the same in every picture and table of a page.

    `metrics` and what follows are of the result that the specs want now; None or empty where there is none, or where
    it cannot be read: `problems` then says why. `before` and `after` are eval.json's, nested. Of a stage that is not
    finished, `metrics` are the steps made so far.
    """

    number: int
    stage: Stage
    verdict: Verdict
    manifest: Manifest | None = None
    run: RunRecord | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)  # run.json as it is
    metrics: pd.DataFrame | None = None
    timing: pd.DataFrame | None = None
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    log: Path | None = None

    @property
    def ref(self) -> str:
        """pipeline/stage."""
        return self.stage.ref

    @property
    def anchor(self) -> str:
        """The anchor of this stage's part of the page."""
        return f"{self.stage.pipeline}-{self.stage.name}"

    def figures(self, side: str) -> dict[str, float]:
        """The numbers of one side of eval.json, by dotted name."""
        return flatten(self.before if side == "before" else self.after)


def view(layout: Layout, number: int, stage: Stage, verdict: Verdict) -> View:
    """Read what there is of a stage."""
    found = View(number, stage, verdict)
    _read_result(layout, found)
    if found.manifest is None and found.metrics is None and stage.phases:
        found.metrics = _steps_so_far(layout, found)
    return found


def _steps_so_far(layout: Layout, found: View) -> pd.DataFrame | None:
    """The steps of attempts that did not finish, under the key that is wanted."""
    rows = _tried(found, lambda: live.steps(layout, found.verdict.key))
    if not rows:
        return None
    frame = pd.DataFrame(rows)
    if missing := [name for name in NEEDED if name not in frame]:
        found.problems.append(f"{live.NAME}: columns {', '.join(missing)} are missing")
        return None
    return _tried(found, lambda: checked(frame, layout.run(found.verdict.key) / live.NAME, found.stage))


def _read_result(layout: Layout, found: View) -> None:
    """Fill in what there is of a result in place."""
    stage, verdict, folder = found.stage, found.verdict, layout.stage(found.ref)
    found.log = _tried(found, lambda: _log(layout.log(verdict.key)))
    if not folder.is_dir():
        return
    found.manifest = _tried(found, lambda: manifest.read(layout.manifest(found.ref)))
    if found.manifest is None:
        return  # of which revision the figures are is not known
    if found.manifest.key != verdict.key:
        found.problems.append(
            f"the result in place is another revision's (key {found.manifest.key[:8]}, wanted {verdict.key[:8]}): "
            "its figures are not shown"
        )
        found.manifest = None
        return
    if verdict.state not in FINISHED:
        found.problems.append(f"{verdict.state}: {verdict.why}")
    # What was trained is drawn as it was requested then; the specs may put other words, or another machine, to it.
    trained = _tried(found, lambda: read_stage(folder / "stage.json")) or stage
    found.run = _tried(found, lambda: read_run(folder))
    found.machine = _tried(found, lambda: read_json(folder / "run.json")) or {}
    if trained.phases:
        found.metrics = _tried(found, lambda: read_metrics(folder / "metrics.csv", trained))
        found.timing = _tried(found, lambda: read_timing(folder / "timing.csv"))
    if (folder / "eval.json").exists():
        evaluations = _tried(found, lambda: read_json(folder / "eval.json")) or {}
        found.before, found.after = (_object(evaluations, side) for side in ("before", "after"))


def _log(path: Path) -> Path | None:
    """A log, if it is there. Raises OSError where this user may not read it."""
    if path.is_symlink() or not path.is_file():
        return None
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW))
    return path


def _object(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _tried(found: View, reading: Callable[[], T]) -> T | None:
    try:
        return reading()
    except (UserError, OSError) as error:
        problem = in_words(error)
        if problem not in found.problems:
            found.problems.append(problem)
        return None
