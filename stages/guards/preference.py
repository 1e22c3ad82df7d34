"""Guards of preference training: its reference is the parent before the first step and after the last, and at the first
step, when the policy is the reference too, no pair has a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from stages.check.findings import Finding
from stages.guards.findings import differing, finding, some
from stages.guards.report import BuiltReport, EndReport
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Preference

ZERO = ("margin", "accuracy", "chosen_ratio", "rejected_ratio")  # at the first step
ROUNDED = 1e-6  # relative, of a loss that is summed in fp32


def reference(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-49: the reference has every bit of what the stage received, which is the parent's (I-15)."""
    for name in stage.read_frozen:
        module = report.modules[name]
        received = module.weights if module.computed is None else module.computed
        if module.read_frozen is None or module.read_frozen != received:
            wrong = differing(module.read_frozen, received)
            found = "no reference" if module.read_frozen is None else f"a reference that differs in {some(wrong)}"
            yield finding(
                stage, "I-49", at=f"init.{name}", observed=found, expected="the parent's weights, bit for bit",
                repair="Copy what was received, before a checkpoint is read.",
            )  # fmt: skip


def measured(stage: Stage, report: EndReport) -> Iterator[Finding]:
    """I-49: the reference did not move, and the first step began from it.

    On a GPU the bits of a pass with a graph and of one without are not promised to be the same, so there the first step
    is not compared.
    """
    for name in stage.read_frozen:
        before, after = report.frozen_before.get(name), report.frozen_after.get(name)
        if not before or before != after:
            yield finding(
                stage, "I-49", at=f"init.{name}",
                observed=f"a reference that moved in {some(differing(before, after))}",
                expected="the bits of before the first step", repair="Move the parameters of the policy alone.",
            )  # fmt: skip
    settings = stage.phases[0].preference if stage.phases else None
    if settings is not None and report.rows and stage.execution.device == "cpu":
        yield from _first_step(stage, settings, report.rows[0].pairs)


def _first_step(stage: Stage, settings: Preference, row: Mapping[str, float]) -> Iterator[Finding]:
    if wrong := {column: row.get(column) for column in ZERO if row.get(column) != 0}:
        yield finding(
            stage, "I-49", at="phases", observed=f"at the first step {some(wrong)}",
            expected="0 each: policy and reference are one", repair="Compute both in the same way, from the same rows.",
        )  # fmt: skip
    expected, loss = begins_at(settings, row.get("chosen_nll", math.nan)), row.get("loss", math.nan)
    if stage.phases[0].router is None and not math.isclose(loss, expected, rel_tol=ROUNDED, abs_tol=ROUNDED):
        yield finding(
            stage, "I-49", at="phases", observed=f"a loss of {loss!r} at the first step", expected=f"{expected!r}",
            repair="Take the mean over the step's pairs, of the formula that `preference` names.",
        )  # fmt: skip


def begins_at(settings: Preference, nll: float) -> float:
    """The loss where policy and reference are one: log 2 for DPO, 0 for APO-zero, and the likelihood's share."""
    start = math.log(2) if settings.loss == "dpo" else 0.0
    return start + settings.nll * nll if settings.nll else start
