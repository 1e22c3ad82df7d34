"""Which of a stage's evaluations the tables show first, under the names that `stages.evals` writes into eval.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """An evaluation: its dotted name in eval.json, what people call it, how it reads, which way is better."""

    name: str
    label: str
    form: Literal["share", "loss"]
    better: Literal["higher", "lower"]

    def text(self, value: float) -> str:
        """A value as people read it: a share in percent, a loss with three decimals."""
        return f"{value:.1%}" if self.form == "share" else f"{value:.3f}"


VALIDATION = Measure("validation.loss", "validation loss", "loss", "lower")
BEYOND = Measure("positions.beyond", "loss beyond the old context", "loss", "lower")
NEEDLE = Measure("needle.accuracy", "needles found", "share", "higher")
DIGITS = Measure("digits.accuracy", "zero-shot digits", "share", "higher")
RETRIEVAL = Measure("retrieval.image_to_text", "caption retrieval", "share", "higher")
QUESTIONS = Measure("questions.accuracy", "digit questions", "share", "higher")
ANSWERS = Measure("answers.loss", "answer loss", "loss", "lower")
PREFERRED = Measure("preferences.accuracy", "preferred answers", "share", "higher")
FORMED = Measure("answers.well_formed", "well-formed replies", "share", "higher")

MEASURES = (DIGITS, RETRIEVAL, QUESTIONS, PREFERRED, ANSWERS, FORMED, BEYOND, NEEDLE)  # the most telling first


def loops(after: Mapping[str, float]) -> str:
    """Ouro's loss by number of loops in words, the first and the last: "1 loop 3.412, 8 loops 3.120", or ""."""
    counts = sorted(int(name.removeprefix("loops.")) for name in after if name.startswith("loops."))
    if len(counts) < 2:
        return ""
    first, last = (after[f"loops.{count}"] for count in (counts[0], counts[-1]))
    return f"loss at {counts[0]} loop {first:.3f}, at {counts[-1]} loops {last:.3f}"


def headline(after: Mapping[str, float]) -> Measure | None:
    """The most telling evaluation that a stage has, besides the validation loss."""
    return next((measure for measure in MEASURES if measure.name in after), None)


def arrow(measure: Measure, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """ "before → after" of one measure; a side that was not measured reads "-"."""
    sides = [measure.text(side[measure.name]) if measure.name in side else "-" for side in (before, after)]
    return " → ".join(sides)
