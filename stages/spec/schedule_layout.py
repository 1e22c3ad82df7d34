"""Named schedules laid along a lineage, on the paper's clock: where each piece begins and ends, and at which rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

from stages.spec import shapes
from stages.spec.resolved_training import Shape
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.pipeline import RawPiece
from stages.spec.units import Epochs

LR = "the learning rate"

FAR = 1000  # times the steps that there are: no slip of steps, but tokens with the word behind them


class ScheduleError(ValueError):
    """A schedule that cannot be laid out; `piece` is the index of the piece at fault, None for the whole.

    `key` is what of the piece, where that is one value: a sweep may have it in a line of its own.
    `of_reader`: the piece is wrong for the stage that reads it, and may be right for another one. `invariant` is the
    one that the refusal enforces.
    """

    def __init__(
        self, piece: int | None, found: str, allowed: str, repair: str, *, of_reader: bool = False, key: str = "",
        invariant: str = "",
    ) -> None:  # fmt: skip
        self.piece, self.found, self.allowed, self.repair = piece, found, allowed, repair
        self.of_reader, self.key, self.invariant = of_reader, key, invariant
        super().__init__(found)


@dataclass(frozen=True)
class Span:
    """A phase on both clocks: [paper[0], paper[1]) of the paper's, [here[0], here[1]) of the scale's."""

    phase: RawPhase
    paper: tuple[int, int]
    here: tuple[int, int]


@dataclass(frozen=True)
class Laid:
    """A piece on the paper's clock, rates exact where they can be."""

    start: int
    end: int
    shape: Shape
    first: Fraction
    last: Fraction
    jump: str | None
    exponent: Fraction | None = None  # of shape power

    @property
    def described(self) -> str:
        """In words: "a linear piece from 0.0003 to 0"."""
        return f"{shapes.named(self.shape)} from {float(self.first):g} to {float(self.last):g}"

    def rate(self, clock: int) -> Fraction:
        """The paper's learning rate at a clock inside the piece."""
        if self.shape == "constant" or clock == self.end:
            return self.last
        progress = Fraction(clock - self.start, self.end - self.start)
        match self.shape:
            case "linear":
                return self.first + (self.last - self.first) * progress
            case "cosine":
                return shapes.cosine(self.first, self.last, progress)
            case "1-sqrt":
                return shapes.one_minus_sqrt(self.first, self.last, progress)
            case "inverse_sqrt":
                return shapes.power_law(self.first, self.last, progress, Fraction(1, 2))
            case "power":
                return shapes.power_law(self.first, self.last, progress, self.exponent or Fraction(0))
            case "exponential":
                return shapes.exponential(self.first, self.last, progress)
            case _:
                assert_never(self.shape)


def lay(
    pieces: Sequence[RawPiece], spans: Sequence[Span], parent_rate: Fraction | None, number: str = LR
) -> list[Laid]:
    """The pieces on the paper's clock as far as the spans reach. Raises ScheduleError.

    `parent_rate` is the rate at which the parent ended, None where there is none to be continuous with; `number` is
    what the schedule gives, in words.
    """
    reach = spans[-1].paper[1]
    laid: list[Laid] = []
    clock, rate = 0, parent_rate
    exact = Fraction(0)  # where the clock stands, before a piece counted in epochs is rounded to a token
    for index, piece in enumerate(pieces):
        if clock >= reach:
            return laid
        first = _first(index, piece, rate, number)
        if piece.shape == "constant":
            if piece.to is not None:
                raise ScheduleError(index, "a constant piece with `to`", "constant pieces without it", "Remove `to`.")
            last = first
        elif piece.to is None:
            raise ScheduleError(
                index, f"{shapes.named(piece.shape)} without `to`", "`to: <rate>`", "Say where it ends.",
                invariant="I-05",
            )  # fmt: skip
        else:
            last = piece.to
        _of_its_shape(index, piece, first, last)
        end, exact = _end(index, piece, clock, exact, spans)
        laid.append(Laid(clock, end, piece.shape, first, last, piece.jump, piece.exponent))
        clock, rate = end, last
    if clock < reach:
        raise ScheduleError(
            None, f"a schedule that ends at {clock:,}", f"schedules that reach the stage's end at {reach:,}",
            "Lengthen the last piece or add one.", invariant="I-05",
        )  # fmt: skip
    return laid


def _first(index: int, piece: RawPiece, rate: Fraction | None, number: str) -> Fraction:
    """A piece's first rate, continuous with `rate` unless a jump is declared."""
    match piece.starts:
        case "previous" if index == 0:
            raise ScheduleError(
                index, "a first piece without `from`", "a rate, or current", "Add `from: ...`.", invariant="I-05"
            )
        case "previous" | "current":
            if rate is None:
                raise ScheduleError(
                    index, "`from: current` where the parent has no schedule" if number == LR else
                    f"`from: current` where the parent has no {number}", "a stated rate",
                    "Write `from: <rate>`, or correct the stage's `init`: what its first trained module inherits. A "
                    "merge has what all its parents ended at, and nothing where they ended apart.",
                    of_reader=True, invariant="I-05",
                )  # fmt: skip
            return rate
        case "stated":
            stated = piece.from_ if piece.from_ is not None else Fraction(0)
            if rate is None or stated == rate or piece.jump is not None:
                return stated
            raise ScheduleError(
                index,
                f"a jump of {number} from {float(rate):g} to {float(stated):g}",
                f"a continuous {'rate' if number == LR else number}, or `jump: <reason>`",
                f"Start at the current {'rate' if number == LR else 'value'} "
                f"({'no `from`' if index else '`from: current`'}), or declare the jump with its reason.",
                of_reader=index == 0,
                key="from",
                invariant="I-28",
            )
        case _:
            assert_never(piece.starts)


def _of_its_shape(index: int, piece: RawPiece, first: Fraction, last: Fraction) -> None:
    """Refuse an exponent of another shape than power, a power without one, and ends that a shape cannot come to."""
    if (piece.exponent is not None) != (piece.shape == "power"):
        found = f"{shapes.named(piece.shape)} with{'' if piece.exponent is not None else 'out'} `exponent`"
        raise ScheduleError(index, found, "`exponent` with shape power, and with no other", "Add or remove it.")
    if piece.shape in shapes.POSITIVE and not min(first, last):
        found = f"{piece.shape} from {float(first):g} to {float(last):g}"
        repair = "End at a rate above 0, or choose another shape."
        raise ScheduleError(
            index, found, "rates above 0: this shape never comes to 0", repair, of_reader=True, key="to"
        )
    if piece.shape in shapes.FALLING and first < last:
        found = f"{piece.shape} from {float(first):g} up to {float(last):g}"
        repair = "Correct `to`, or choose another shape."
        raise ScheduleError(
            index, found, "a rate that falls, as tokens to a negative power do", repair, of_reader=True, key="to"
        )


def _end(index: int, piece: RawPiece, clock: int, exact: Fraction, spans: Sequence[Span]) -> tuple[int, Fraction]:
    """The clock at a piece's end, and the same before rounding."""
    if (piece.for_ is None) == (piece.until is None):
        raise ScheduleError(
            index, "both or neither of `for` and `until`", "exactly one of them", "Give the piece one end.",
            invariant="I-05",
        )  # fmt: skip
    if piece.until is not None:
        if piece.until <= clock:
            raise ScheduleError(
                index,
                f"a piece from {clock:,} until {piece.until:,}",
                "pieces that end after they begin",
                "Correct `until`.",
                key="until",
                invariant="I-05",
            )
        return piece.until, Fraction(piece.until)
    amount, unit = piece.for_ if piece.for_ is not None else (0, "")
    if unit == "epochs":
        return _epochs_end(index, Fraction(amount), clock, exact, spans)
    amount = int(amount)
    if unit != "steps":
        return clock + amount, Fraction(clock + amount)
    end, found = step_end(spans, clock, amount)
    if found < amount:
        phase = spans[-1].phase
        more = end - clock + (amount - found) * phase.batch[-1].batch * phase.context
        raise ScheduleError(
            index,
            f"{amount:,} steps, of which the stages so far have {found:,}",
            "steps within the stage in which the piece begins, as which stages come after it is theirs to say",
            f"Leave out `steps`: it is a length in {phase.unit}."
            if amount > FAR * found
            else f"Write the length in {phase.unit}: {more:_}, if its batch goes on.",
            key="for",
        )
    return end, Fraction(end)


def _epochs_end(
    index: int, amount: Fraction, clock: int, exact: Fraction, spans: Sequence[Span]
) -> tuple[int, Fraction]:
    """The clock after so many epochs of the phase that goes on at `clock`, and the same before rounding."""
    span = next((span for span in spans if span.paper[1] > clock), None)
    budget = span.phase.budget if span is not None else None
    if span is None or not isinstance(budget, Epochs):
        raise ScheduleError(
            index, "epochs, although a phase that reads it has its budget in tokens", "tokens, patches or steps",
            "Write the length in tokens, or give the phase with a budget in epochs a schedule of its own.", key="for",
        )  # fmt: skip
    exact += amount * span.phase.size / budget.number
    if round(exact) <= clock:
        raise ScheduleError(
            index, "a part of an epoch without a token", "at least one", "Lengthen the piece.", key="for"
        )
    return round(exact), exact


def step_end(spans: Sequence[Span], clock: int, wanted: int) -> tuple[int, int]:
    """The paper's clock at the end of the `wanted`-th step that ends after `clock`, and how many such steps there were.

    The batch ramp switches at the first step border at or past its threshold; a phase's last step is partial.
    """
    left, end = wanted, clock
    for span in spans:
        if span.paper[1] <= clock:
            continue
        done, budget = 0, span.phase.size
        thresholds = [*(step.after for step in span.phase.batch[1:]), budget]
        for step, threshold in zip(span.phase.batch, thresholds, strict=True):
            size = step.batch * span.phase.context
            steps = max(0, -(-(min(threshold, budget) - done) // size))
            skipped = min(steps, max(0, (clock - span.paper[0] - done) // size))
            if left and steps - skipped:
                taken = min(left, steps - skipped)
                left -= taken
                end = span.paper[0] + min(done + (skipped + taken) * size, budget)
            done += steps * size
    return end, wanted - left
