"""What `stages run` says of a point whose trunk has no checkpoint there: it is trained again on request alone."""

from __future__ import annotations

import csv

from stages.contract import ledger
from stages.engines import Inputs
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import attempts, partials
from stages.store.layout import Layout

AGAIN = "--train-again"


def refuse_to_repeat(stage: Stage, inputs: Inputs) -> None:
    """Raise UserError for a point that has to be trained again, with what that costs.

    A checkpoint of its end is there, or one of an earlier run that trained it again on request: then it goes on.
    """
    if stage.trunk is None or partials.valid(inputs.layout.phase_end(inputs.phase_keys[-1])):
        return
    if any(partials.listed(attempt) for attempt in attempts.folders(inputs.layout, inputs.key)):
        return
    ref, trunk = stage.ref, stage.trunk
    steps, units = sum(map(ledger.count, stage.phases)), stage.budget
    seconds = _measured(inputs.layout, trunk, steps)
    took = "" if seconds is None else f", which took {trunk} {seconds:,.0f} s"
    if not inputs.layout.manifest(trunk).is_file():
        raise UserError(
            f"{ref}: {trunk} is not done. `{inputs.layout.command(trunk)}` trains it, and keeps the checkpoint at step "
            f"{steps:,} on the way."
        )
    raise UserError(
        f"{ref}: {trunk} was trained without keeping a checkpoint at step {steps:,}: nothing named it then, or `stages "
        f"gc` took it. The same {steps:,} steps ({units:,} {stage.phases[0].unit}{took}) can be computed again, with "
        f"the same bits: `{inputs.layout.command(ref)} {AGAIN}`. Nothing was trained."
    )


def _measured(layout: Layout, trunk: str, steps: int) -> float | None:
    """Seconds that the trunk's first steps took, where its times can be read."""
    path = layout.stage(trunk) / "timing.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)][:steps]
    try:
        return sum(float(row["seconds"]) for row in rows) if len(rows) == steps else None
    except (KeyError, ValueError):
        return None
