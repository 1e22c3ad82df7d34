"""What every miniature run has to show before a change is accepted: training trains, extensions extend.

A gate is a comparison with the stage's own start, never with a number from another machine, so it is valid on any CPU.
`python -m stages.report.gates mini` judges what lies in results/mini.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stages.errors import UsageError, UserError
from stages.report.collect import finished
from stages.report.headlines import ANSWERS, BEYOND, DIGITS, VALIDATION, Measure
from stages.report.metrics import StageResult
from stages.spec.resolved_phases import Phase
from stages.store.evaluated import OUTSIDE
from stages.store.layout import Layout

DIGIT_CHANCE = 0.1  # ten digits, equally frequent captions
DIGIT_FACTOR = 5  # times chance that zero-shot accuracy has to reach after CoCa training


@dataclass(frozen=True)
class Gate:
    """One judged gate: `needed` and `found` in words and figures."""

    stage: str
    name: str
    passed: bool
    needed: str
    found: str

    def __str__(self) -> str:
        return (
            f"{'passed' if self.passed else 'FAILED'}  {self.stage}  {self.name}: {self.found}; needed: {self.needed}"
        )


def judge(results: Iterable[StageResult]) -> list[Gate]:
    """Judge every gate of every finished stage, in the order given."""
    return [gate for result in results for gate in _of_stage(result)]


def _of_stage(result: StageResult) -> Iterator[Gate]:
    stage = result.stage
    for task in stage.evaluation.lm_eval.tasks if stage.evaluation.lm_eval is not None else ():
        yield _measured(result, task)
    if result.metrics is None:
        return
    yield _trains(result)
    objectives = {phase.objective for phase in stage.phases}
    if stage.evaluation.old_context is not None:
        yield _falls(result, BEYOND)
    if "coca" in objectives and "zero_shot" in stage.evaluation.names:  # pairs of one's own show no digits
        yield _reaches(result, DIGITS, DIGIT_FACTOR * DIGIT_CHANCE)
    if any(phase.objective == "sft" and _converses(phase) for phase in stage.phases):
        yield _falls(result, ANSWERS)


def _converses(phase: Phase) -> bool:
    """Whether the answers of a corpus can be evaluated: not where all are about pictures. Older records say no kind."""
    kinds = {source.kind for source in phase.sources}
    return not kinds or bool(kinds & {"sft", ""})


def _trains(result: StageResult) -> Gate:
    """Gate: training loss falls; where the rows of a short stage differ by more than it falls, held-out loss decides.

    Held-out rows are the same before and after, so their loss has no part that comes from which rows were read.
    """
    first, last = thirds(result)
    needed = "median of the last third of steps below the first third's"
    found = f"{first:.4f} → {last:.4f}"
    passed, spread = last < first, 2 * uncertainty(result)
    known = VALIDATION.name in result.before and VALIDATION.name in result.after
    if not passed and last - first <= spread and known:
        before, after = result.before[VALIDATION.name], result.after[VALIDATION.name]
        needed += f", or above it by at most {spread:.4f}, twice its standard error, and held-out loss falls"
        found += f"; held-out {before:.4f} → {after:.4f}"
        passed = after < before
    return Gate(result.stage.ref, "training loss falls", passed, needed, found)


def uncertainty(result: StageResult) -> float:
    """Standard error of the difference between the first and the last third, from how much single steps differ."""
    if result.metrics is None:
        raise ValueError(f"{result.stage.ref} does not train")
    losses, part = result.metrics["loss"], max(1, len(result.metrics) // 3)
    if part < 2:
        return 0.0
    return math.sqrt((losses.iloc[:part].var() + losses.iloc[-part:].var()) / part)


def thirds(result: StageResult) -> tuple[float, float]:
    """Median training loss of the first and of the last third of a stage's steps (at least one step each).

    Where a step has a single long row, its loss says first of all which corpus the row is from, and how many answers
    it has. The median does not hang on where the few rows of an easy corpus fell; weighing a step by what it
    supervises keeps a row with a single answer from counting as much as one with thirty.
    """
    if result.metrics is None:
        raise ValueError(f"{result.stage.ref} does not train")
    part = max(1, len(result.metrics) // 3)
    return _median(result.metrics.iloc[:part]), _median(result.metrics.iloc[-part:])


def _median(steps: pd.DataFrame) -> float:
    """Median loss of steps, weighted by their supervised tokens."""
    ordered = steps.sort_values("loss", kind="stable")
    below = ordered["supervised"].cumsum()
    return float(ordered["loss"].iloc[int((below >= below.iloc[-1] / 2).to_numpy().argmax())])


def _falls(result: StageResult, measure: Measure) -> Gate:
    """Gate: a measure of the held-out set is lower after the stage than before it; absent figures do not pass."""
    name, needed = f"{measure.label} falls", "after below before"
    if measure.name not in result.before or measure.name not in result.after:
        return Gate(result.stage.ref, name, False, needed, _unmeasured(measure))
    before, after = result.before[measure.name], result.after[measure.name]
    return Gate(result.stage.ref, name, after < before, needed, f"{before:.4f} → {after:.4f}")


def _unmeasured(measure: Measure) -> str:
    return f"{measure.name} is not in eval.json; name what measures it under `evaluate` of the stage's spec"


def _measured(result: StageResult, task: str) -> Gate:
    """Gate: what the spec requests of lm-evaluation-harness was found; where that is not installed, nothing passes."""
    begins = f"{OUTSIDE}.{task}."
    found = any(name.startswith(begins) for name in result.after)
    return Gate(result.stage.ref, f"lm_eval {task}", found, "its figures", "in eval.json" if found else "not run")


def _reaches(result: StageResult, measure: Measure, least: float) -> Gate:
    """Gate: a measure after the stage is at least `least`; an absent figure does not pass."""
    name, needed = f"{measure.label} above chance", f"at least {least:.0%}, {DIGIT_FACTOR} times chance"
    if measure.name not in result.after:
        return Gate(result.stage.ref, name, False, needed, _unmeasured(measure))
    found = result.after[measure.name]
    return Gate(result.stage.ref, name, found >= least, needed, f"{found:.1%}")


def main(words: Sequence[str]) -> int:
    """Judge the gates of a scale in the current folder and print them; 1 if one of them failed."""
    try:
        if len(words) != 1:
            raise UsageError("say: python -m stages.report.gates SCALE")
        judged = judge(finished(Layout(Path.cwd(), words[0])))
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(*judged, sep="\n")
    failed = sum(not gate.passed for gate in judged)
    print(f"{len(judged) - failed} of {len(judged)} gates passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
