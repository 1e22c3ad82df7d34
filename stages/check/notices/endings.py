"""Schedules whose decay hardly lowers the rate, and figures of an optimizer beyond the usual ones."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.notices.rates import LONGER, kind_of
from stages.check.rules.horizon import place
from stages.errors import Where
from stages.spec import units
from stages.spec.clocks import Extent
from stages.spec.loader import LoadedPipeline
from stages.spec.project import Project
from stages.spec.resolved import Stage

# Of a constant rate's tokens. With 10% of all tokens a decay comes to its best loss, with 2.5% it falls short (MiniCPM,
# arXiv 2404.06395, section 4.3).
HASTY = Fraction(1, 50)
FALLS = ("linear", "cosine", "1-sqrt", "exponential")  # to an end of its own; the others fall on without one
# Most decays end at 0 to 10% of the peak (arXiv 2405.18392, 2407.21783).
LEFT = 1 / 2
# beta1 is 0.8 to 0.96 in all recipes, beta2 0.95 to 0.999; GANs have a beta1 of 0.5 (arXiv 1511.06434). eps is 1e-5
# (arXiv 2307.09288) to 1e-10 (karpathy/nanochat), and 1e-8 in most; gradients are clipped at 1 in most, and seldom at
# less than 0.1 or more than 5.
USUAL = {"beta1": (0.6, 0.99), "beta2": (0.9, 0.9995), "eps": (1e-16, 1e-5), "clip": (0.1, 10)}
LEAST_EMA = 0.9  # an average over ten steps: recipes have 0.99 to 0.99999


def hardly_falls(project: Project, scale: str) -> Iterator[str]:
    """A notice for each schedule that ends by a decay, and at more than half of the highest rate that it has."""
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for extent in (context.pipeline.extents.get(name) for name, _ in context.own):
            if extent is None or extent.left:
                continue
            last, most = extent.laid[-1], extent.highest
            where = place(context, extent.schedule, len(extent.laid) - 1)
            falls = last.shape in FALLS and last.last < last.first
            if falls and last.last > LEFT * most and where not in seen and context.writes(where):
                seen.add(where)
                yield (
                    f"{where}: {extent.schedule} ends at {float(last.last):g}, {float(last.last / most):.0%} of its "
                    f"highest rate, after a {last.shape} decay; recipes end at 0 to 10% (arXiv 2405.18392)."
                )


def hasty(project: Project, scale: str) -> Iterator[str]:
    """A notice for each decay that ends a constant rate of pre-training within a fiftieth of the tokens before it."""
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for name, stage in context.own:
            extent = context.pipeline.extents.get(name)
            if extent is None or kind_of(context, stage) not in ("pre-training", LONGER):
                continue
            highest = extent.highest
            rate, before = _constant_above(context, stage, extent)
            for number, piece in enumerate(extent.laid):
                falls = piece.shape in FALLS and piece.first == rate and piece.last < LEFT * piece.first
                length, where = piece.end - piece.start, place(context, extent.schedule, number)
                if falls and length < HASTY * before and where not in seen and context.writes(where):
                    seen.add(where)
                    yield (
                        f"{where}: {extent.schedule} falls from {float(piece.first):g} to {float(piece.last):g} within "
                        f"{units.format_tokens(length)}, {length / before:.2%} of the {units.format_tokens(before)} "
                        "at a constant rate before; 10% of all tokens suffice, 2.5% fall short (arXiv 2404.06395)."
                    )
                constant = piece.first == piece.last == highest
                rate, before = (highest, before * (rate == highest) + length) if constant else (Fraction(-1), 0)


def _constant_above(context: Context, stage: Stage, extent: Extent) -> tuple[Fraction, int]:
    """The rate at which a stage's parent ended, where that was its constant and highest one, and for how many tokens;
    -1 where it was not, and where the clock goes on, since the schedule itself says it.
    """
    for ref, parent in context.trained_parents(stage) if extent.start == 0 else ():
        above = context.pipeline.extents.get(ref.rpartition("/")[2])
        if above is not None and kind_of(context, parent) == "pre-training" and not above.left:
            last, highest = above.laid[-1], max(max(one.first, one.last) for one in above.laid)
            if last.first == last.last == highest:
                return highest, last.end - last.start
    return Fraction(-1), 0


def unusual_figures(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each figure of an optimizer beyond those of recipes: means, eps, the norm of a clip."""
    for name, optimizer in loaded.raw.optimizers.items():
        for key, (least, most) in USUAL.items():
            number = optimizer.get(key)
            if isinstance(number, (int, float)) and not least <= number <= most:
                where = loaded.document.where(("optimizers", name, key))
                yield f"{where}: {name} has {key} {number:g}; recipes have {least:g} to {most:g}."
        average = optimizer.get("ema")
        if isinstance(average, (int, float)) and average < LEAST_EMA:
            where = loaded.document.where(("optimizers", name, "ema"))
            steps = 1 / (1 - average)
            yield f"{where}: {name} has ema {average:g}, an average over {steps:.0f} steps; recipes have 0.99 and more."
