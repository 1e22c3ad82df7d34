"""How the figures of a full-size spec become those of a scale. Integers and fractions only: equal on every machine."""

from __future__ import annotations

from fractions import Fraction

from stages.errors import SpecError
from stages.spec import domains
from stages.spec.nodes import Document
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn
from stages.spec.resolved_phases import ANSWERS_ALONE
from stages.spec.schema.data import RawShrink
from stages.spec.schema.phases import CountedPhase, RawBatchStep, RawPhase
from stages.spec.schema.stages import RawRope


class Scale:
    """The map of one pipeline at one scale; `shrink` is None at full size."""

    def __init__(self, shrink: RawShrink | None, document: Document, pipeline: str) -> None:
        self.shrink, self.document, self.pipeline = shrink, document, pipeline

    def fail(self, key: str, found: str, allowed: str, repair: str) -> SpecError:
        """An error of this pipeline's entry in the scale's file."""
        return self.document.error(("pipelines", self.pipeline, key), found, allowed, repair)

    def context(self, length: int) -> int:
        """A length in positions; it has to come out whole."""
        if self.shrink is None:
            return length
        factor = self.shrink.context
        value, rest = divmod(length * factor.numerator, factor.denominator)
        if rest:
            raise self.fail(
                "context", f"{factor}, at which a context of {length} becomes {float(length * factor):g}",
                "a factor that keeps every context whole", "Choose another factor.",
            )  # fmt: skip
        return value

    def sequences(self, count: int, context: int) -> int:
        """Sequences per step: the factor applies to ledger units, at least one sequence is left."""
        if self.shrink is None:
            return count
        factor = self.shrink.batch
        return max(1, _nearest(count * context * factor.numerator, factor.denominator * self.context(context)))

    def micro_batch(self, count: int, context: int) -> int:
        """Sequences per logical micro-batch."""
        return count if self.shrink is None else max(1, self.shrink.micro_batch // self.context(context))

    def largest_step(self, phase: RawPhase) -> int:
        """Ledger units of the phase's largest step, at this scale."""
        return max(self.sequences(step.batch, phase.context) for step in phase.batch) * self.context(phase.context)

    def budget(self, phase: RawPhase) -> int:
        """The phase's budget: here * (budget / paper)^exponent, rounded, at least `floor` steps.

        With `whole_rows` a budget of conversations is rounded up to whole rows: what is left of a row may fit
        none, and a step of nothing else has nothing to learn from.
        """
        if self.shrink is None:
            return phase.size
        if isinstance(phase, CountedPhase):
            return phase.here
        rule = self.shrink.tokens
        p, q = rule.exponent.numerator, rule.exponent.denominator
        doubled = _root(phase.size**p * (2 * rule.anchor.here) ** q // rule.anchor.paper**p, q)
        budget = max((doubled + 1) // 2, rule.floor * self.largest_step(phase))
        if not rule.whole_rows or phase.objective not in ANSWERS_ALONE:
            return budget
        row = self.context(phase.context)
        return -(-budget // row) * row

    def batch(self, phase: RawPhase, step: RawBatchStep) -> tuple[int, int]:
        """(after, sequences) of a step of the batch ramp; `after` moves in proportion to the budget."""
        return step.after * self.budget(phase) // phase.size, self.sequences(step.batch, phase.context)

    def rate(self, value: Fraction) -> float:
        """A learning rate; one outside its domain is refused."""
        rate = value if self.shrink is None else value * self.shrink.lr
        if not domains.RATE.contains(rate):
            raise self.fail("lr", f"a factor that makes a rate of {float(value):g} {float(rate):g}",
                            domains.RATE.allowed, "Lower the factor.")  # fmt: skip
        return float(rate)

    def least_piece(self, phase: RawPhase) -> int:
        """Ledger units that a piece of a schedule takes at least within a phase."""
        return 0 if self.shrink is None else self.shrink.min_piece * self.largest_step(phase)

    def cap(self, pixels: int) -> int:
        """A resolution cap in pixels."""
        if self.shrink is None:
            return pixels
        if self.shrink.resolution is None:
            raise self.fail("resolution", "nothing", "resolution is required here", "Add `resolution: ...`.")
        factor = self.shrink.resolution
        return max(1, _nearest(pixels * factor.numerator, factor.denominator))

    def rope(self, raw: RawRope) -> Rope:
        """Base and original length shrink with the context, so wavelengths keep their ratio to it."""
        factor = Fraction(1) if self.shrink is None else self.shrink.context
        llama3 = None
        if raw.llama3 is not None:
            llama3 = Llama3Scaling(
                factor=float(raw.llama3.factor),
                low=float(raw.llama3.low),
                high=float(raw.llama3.high),
                original=self.context(raw.llama3.original),
            )
        return Rope(
            base=float(raw.base * factor), llama3=llama3, interpolation=float(raw.interpolation), yarn=self.yarn(raw)
        )

    def yarn(self, raw: RawRope) -> Yarn | None:
        """YaRN, with the original length shrunk as contexts are."""
        given = raw.yarn
        if given is None:
            return None
        return Yarn(
            factor=float(given.factor),
            original=self.context(given.original),
            beta_fast=float(given.beta_fast),
            beta_slow=float(given.beta_slow),
            truncate=given.truncate,
            attention_factor=_float(given.attention_factor),
            mscale=_float(given.mscale),
            mscale_all_dim=_float(given.mscale_all_dim),
        )


def _float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _nearest(numerator: int, denominator: int) -> int:
    """Their quotient, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _root(value: int, degree: int) -> int:
    """The largest integer whose `degree`-th power does not exceed value (Newton's iteration from above)."""
    if value < 2 or degree == 1:
        return value
    guess = 1 << -(-value.bit_length() // degree)
    while True:
        better = ((degree - 1) * guess + value // guess ** (degree - 1)) // degree
        if better >= guess:
            return guess
        guess = better
