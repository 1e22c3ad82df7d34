"""Guards of preference training: its reference is the parent before the first step and after the last; at the first
step, when the policy is the reference too, no pair has a margin; and after the last, when it is not, the objective
measures the policy from the reference and not the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from stages.check.findings import Finding
from stages.data.tokens.preference import SIDES
from stages.guards.findings import differing, finding, some
from stages.guards.report import BuiltReport, EndReport, PairReport
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Preference

ZERO = ("margin", "accuracy", "chosen_ratio", "rejected_ratio")  # at the first step
ROUNDED = 1e-6  # relative, of a loss that is summed in fp32
NOISE = 1e-3  # relative, of log-probabilities that are computed in two ways, in bf16 too


def reference(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-49: the reference has every bit of what the stage received, which is the parent's (I-15)."""
    for name in stage.read_frozen:
        module = report.modules[name]
        received = module.received if module.computed is None else module.computed
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
    if settings is not None and len(report.rows) > 1 and not any(row.pairs.get("margin") for row in report.rows[1:]):
        yield finding(
            stage, "I-49", at="phases", observed="no pair with a margin at any step",
            expected="a policy that moves away from its reference",
            repair="Compute the reference's log-probabilities by the frozen copy.",
        )  # fmt: skip
    if report.pair is not None:
        yield from _exchanged(stage, report.pair)


def _exchanged(stage: Stage, pair: PairReport) -> Iterator[Finding]:
    """After the last update an answer's log-ratio has the sign that both models' log-probabilities give it, if these
    differ by more than rounding.
    """
    for name, measured, policy, reference in zip(SIDES, pair.ratios, pair.policy, pair.reference, strict=True):
        clear = abs(policy - reference) > NOISE * max(abs(policy), abs(reference))
        if clear and measured * (policy - reference) <= 0:
            yield finding(
                stage, "I-49", at="phases", observed=f"a log-ratio of {measured:.6g} of a {name} answer",
                expected=f"the sign of {policy:.6g} under the policy less {reference:.6g} under the reference",
                repair="Policy and reference are exchanged: subtract the reference's log-probability.",
            )  # fmt: skip


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
