"""The variants of one stage side by side: what each came to, and which is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table

from stages import terminal
from stages.report.headlines import MEASURES, VALIDATION, Measure, headline
from stages.report.metrics import first_and_last_loss
from stages.spec import quantities, units

COLUMNS = ("stage", "value", "state", "train loss")


@dataclass(frozen=True)
class Arm:
    """One variant: its stage, its value, and what it came to where its result is the one that the specs request.

    `after` are its evaluations by dotted name, `metrics` its steps, counted in `unit`.
    """

    stage: str
    value: str
    state: str
    done: bool
    after: Mapping[str, float]
    metrics: pd.DataFrame | None
    unit: str

    def reached(self, measure: Measure) -> float | None:
        """What the finished stage was evaluated at."""
        return self.after.get(measure.name) if self.done else None

    @property
    def losses(self) -> tuple[float, float] | None:
        """Mean training loss over the first and over the last tenth of the steps; None before it is done."""
        if not self.done or self.metrics is None:
            return None
        return first_and_last_loss(self.metrics)

    @property
    def number(self) -> float | None:
        """The value where it is a plain number."""
        try:
            return float(units.number(self.value))
        except quantities.BadQuantity:
            return None


def measure_of(arms: Sequence[Arm]) -> Measure | None:
    """What variants are ranked by: the validation loss, else the most telling evaluation that they have."""
    results = [arm.after for arm in arms if arm.done]
    if any(VALIDATION.name in one for one in results):
        return VALIDATION
    return next(filter(None, map(headline, results)), None)


def measured(arms: Sequence[Arm]) -> list[Measure]:
    """The evaluations that some of them have."""
    return [one for one in (VALIDATION, *MEASURES) if any(arm.reached(one) is not None for arm in arms)]


def reached(arms: Sequence[Arm], measure: Measure | None) -> list[tuple[Arm, float]]:
    """The variants that have a value of a measure, with it."""
    return [(arm, value) for arm in arms if measure is not None and (value := arm.reached(measure)) is not None]


def best(arms: Sequence[Arm], measure: Measure | None) -> Arm | None:
    """The variant with the best value of a measure, the first of equals; None where none has one."""
    known = reached(arms, measure)
    if measure is None or not known:
        return None
    sign = 1 if measure.better == "lower" else -1
    return min(known, key=lambda one: sign * one[1])[0]


def conclusions(arms: Sequence[Arm], field: str) -> list[str]:
    """Which is best, by how much, and what that does not say."""
    measure = measure_of(arms)
    first = best(arms, measure)
    done = sum(arm.done for arm in arms)
    if first is None or measure is None:
        return [f"{done} of {len(arms)} done; none has an evaluation to rank it by"]
    others = [arm for arm in arms if arm is not first and arm.reached(measure) is not None]
    second = best(others, measure)
    text = f"best: {first.stage} ({field}: {first.value}), {measure.label} {in_words(measure, first)}"
    if second is not None:
        text += f"; next {second.stage} ({second.value}), {in_words(measure, second)}"
    lines = [text]
    if done < len(arms):
        lines.append(f"{done} of {len(arms)} are done: the others are not compared")
    numbers = sorted(arm.number for arm in arms if arm.number is not None)
    if first.number is not None and len(numbers) == len(arms) and first.number in (numbers[0], numbers[-1]):
        lines.append("it is at the end of the values: the best may lie beyond them")
    return lines


def in_words(measure: Measure, arm: Arm) -> str:
    """What a variant was evaluated at, losses with one digit more than elsewhere: variants lie close together."""
    value = arm.reached(measure)
    return "-" if value is None else measure.text(value) if measure.form == "share" else f"{value:.4f}"


def trained(arm: Arm) -> str:
    """Its training loss at both ends, in words."""
    return "-" if arm.losses is None else " → ".join(f"{loss:.4f}" for loss in arm.losses)


def rich_table(title: str, arms: Sequence[Arm]) -> Table:
    """One line a variant, the best marked."""
    shown = measured(arms)
    first = best(arms, measure_of(arms))
    table = terminal.table(title)
    for name in (*COLUMNS, *(one.label for one in shown)):
        table.add_column(name)
    for arm in arms:
        cells = (arm.stage, arm.value, arm.state, trained(arm), *(in_words(one, arm) for one in shown))
        table.add_row(*cells, style="bold" if arm is first else None)
    return table


def as_json(arms: Sequence[Arm], field: str) -> dict[str, Any]:
    """The same as plain values; losses of training are means over the first and the last tenth of the steps."""
    measure = measure_of(arms)
    first = best(arms, measure)
    return {
        "field": field,
        "ranked_by": None if measure is None else measure.name,
        "best": None if first is None else first.stage,
        "variants": [
            {
                "stage": arm.stage,
                "value": arm.value,
                "state": arm.state,
                "train_loss": None if arm.losses is None else list(arm.losses),
                "after": dict(arm.after) if arm.done else {},
            }
            for arm in arms
        ],
    }
