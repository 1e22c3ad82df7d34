"""The same pipeline at another scale: I-35."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from math import isclose
from typing import Any

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.mechanisms import mechanisms
from stages.check.rules.rope import rotary_dim
from stages.check.rules.schedule import pieces_of
from stages.contract import ledger
from stages.contract.numbers import timeless
from stages.contract.rope import bands
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope, Yarn
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_pipeline import ResolvedPipeline

CLOSE = 1e-9  # rates and bases are exact in the specs and rounded once on each side
Difference = tuple[tuple[str | int, ...], str, str]  # path in the stage's spec, observed, expected

Scaling = Llama3Scaling | Yarn

# What a smaller scale does not touch, in a stage and in a phase.
OF_STAGE = ("kind", "trained", "clock", "data", "optimizer")
OF_PHASE = ("name", "objective", "unit", "document_mask", "packing", "loops", "router", "z_loss")


@static(
    "I-35",
    title="A miniature is the same pipeline",
    rule="A smaller scale keeps every edge, the order of contexts and of budgets, the shape of the learning rate, the "
    "ratios of rotary bases to contexts, and the mixture's schedule; no mechanism becomes inert.",
    why="A miniature whose warm-up is shorter than a step, or whose scaling touches no frequency, tests another "
    "recipe.",
    threads=(),
    held_by=("tests/unit/spec/test_scaling.py",),
)
def same_pipeline_at_every_scale(context: Context) -> Iterator[Finding]:
    """I-35. Where a release is trained as a stand-in, there is no phase at full size to compare with."""
    full = context.full
    if full is None or context.shrink.shrink is None:
        return
    if _edges(context.pipeline) != _edges(full) or list(context.pipeline.stages) != list(full.stages):
        name = context.pipeline.own[0]
        yield context.finding(
            "I-35", name, (), observed=f"{len(context.pipeline.edges)} edges",
            expected=f"the {len(full.edges)} edges of scale {full.scale}", repair="A scale changes sizes, not edges.",
        )  # fmt: skip
        return
    for name, stage in context.own:
        yield from _shorter_stand_in(context, name, stage, full.stages[name])
        for path, observed, expected in _differences(context, stage, full.stages[name]):
            yield context.finding(
                "I-35", name, path, observed=observed, expected=f"{expected}, as at scale {full.scale}",
                repair=f"Correct pipelines.{context.shrink.pipeline} in specs/scales/{context.pipeline.scale}.yaml.",
            )  # fmt: skip
    yield from _orders(context, full)


def _shorter_stand_in(context: Context, name: str, here: Stage, full: Stage) -> Iterator[Finding]:
    """A stand-in that knows fewer positions than the release: what is extended from it was extended at full size."""
    wanted = context.shrink.context(full.max_context)
    if full.kind == "import" and here.phases and full.max_context and here.max_context < wanted:
        yield context.finding(
            "I-35", name, ("stand_in", "phases"),
            observed=f"a stand-in trained on rows of {here.max_context:,} at most",
            expected=f"rows of {wanted:,}, to which the release's max_context of {full.max_context:,} shrinks",
            repair="Give `stand_in` a last phase at the release's max_context, or waive this.",
            at=("stand_in.phases",), found=(context.full_context(here.max_context), Fraction(full.max_context)),
        )  # fmt: skip


def _edges(pipeline: ResolvedPipeline) -> set[tuple[str, str]]:
    """By the stages' names: which pipeline's rule makes a stage that several share may differ between scales."""
    return {(edge.parent.rpartition("/")[2], edge.child.rpartition("/")[2]) for edge in pipeline.edges}


def _differences(context: Context, here: Stage, full: Stage) -> Iterator[Difference]:
    yield from _fields((), here, full, OF_STAGE if full.phases or not here.phases else ("kind",))
    for module, init in full.init.items():
        if module not in here.init or not _same_edge(here.init[module], init):
            yield ("init",), f"another hand-over of {module}", "the same"
    for module, model in full.modules.items():
        if module in here.modules and (lost := mechanisms(model) - mechanisms(here.modules[module])):
            yield ("modules", module), f"{module} without {', '.join(sorted(lost))}", f"{', '.join(sorted(lost))}"
    if here.rope is not None and full.rope is not None:
        yield from _rope(_shrunk(context, here, full), here, full, here.rope, full.rope)
    if not full.phases:
        return
    if len(here.phases) != len(full.phases):
        yield ("phases",), f"{len(here.phases)} phases", str(len(full.phases))
        return
    for number, (small, large) in enumerate(zip(here.phases, full.phases, strict=True)):
        yield from _phase(number, small, large)
    yield from _rates(context, here, full)
    yield from _short_pieces(here)


def _fields(path: tuple[str | int, ...], here: Any, full: Any, names: tuple[str, ...]) -> Iterator[Difference]:
    for name in names:
        mine, theirs = getattr(here, name), getattr(full, name)
        if mine != theirs and (mine := timeless(mine)) != (theirs := timeless(theirs)):
            yield (*path, name), f"{name}: {mine}", f"{theirs}"


def _same_edge(here: Init, full: Init) -> bool:
    released = full.weights == "release" and here.stand_in and here.release == full.release
    parents = [init.parent and init.parent.rpartition("/")[2] for init in (here, full)]
    same = (here.taken, parents[0], here.optimizer) == (full.taken, parents[1], full.optimizer)
    return released or same


def _shrunk(context: Context, here: Stage, full: Stage) -> Fraction:
    """What the stage's rows are multiplied by; of a stage that reads none at full size, what the scale says."""
    if here.phases and full.phases:
        return Fraction(here.longest, full.longest)
    return context.shrink.shrink.context if context.shrink.shrink is not None else Fraction(1)


def _rope(factor: Fraction, here: Stage, full: Stage, small: Rope, large: Rope) -> Iterator[Difference]:
    """Base and original length per position of the stage's rows, and the scaling's bands."""
    if not isclose(small.base, large.base * float(factor), rel_tol=CLOSE):
        yield ("rope", "base"), f"a base of {small.base:g}", f"{large.base * float(factor):g} for this context"
    if small.interpolation != large.interpolation:
        yield ("rope", "interpolation"), f"an interpolation by {small.interpolation:g}", f"{large.interpolation:g}"
    for name in ("llama3", "yarn"):
        one, other = getattr(small, name), getattr(large, name)
        if (one is None) != (other is None):
            yield ("rope", name), f"{name} scaling on one side only", "the same scaling"
        elif one is not None:
            yield from _scaling(name, one, other, factor)
            yield from _bands(name, (here, small.base, one), (full, large.base, other))


def _scaling(name: str, small: Scaling, large: Scaling, factor: Fraction) -> Iterator[Difference]:
    wanted = large.model_copy(update={"original": int(large.original * factor)})
    if small != wanted:
        yield ("rope", name), f"{small}", f"{wanted}"


def _bands(name: str, small: tuple[Stage, float, Scaling], large: tuple[Stage, float, Scaling]) -> Iterator[Difference]:
    dims = rotary_dim(small[0]), rotary_dim(large[0])
    if dims[0] is not None and dims[1] is not None:
        counts, published = bands(small[2], small[1], dims[0]), bands(large[2], large[1], dims[1])
        if any(count == 0 and known for count, known in zip(counts, published, strict=True)):
            yield ("rope", name), f"{counts} pairs kept, blended, scaled", f"none empty that is not ({published})"


def _phase(number: int, here: Phase, full: Phase) -> Iterator[Difference]:
    path: tuple[str | int, ...] = ("phases", number)
    yield from _fields(path, here, full, OF_PHASE)
    if len(here.batch) != len(full.batch):
        yield (*path, "batch"), f"{len(here.batch)} batch sizes", f"{len(full.batch)}"
    elif [a.sequences > b.sequences for a, b in combinations(here.batch, 2)] != [
        a.sequences > b.sequences for a, b in combinations(full.batch, 2)
    ]:
        yield (*path, "batch"), "batches in another order", "the same"
    if (here.share is None) != (full.share is None):
        yield (*path, "multimodal"), "a share on one side only", "the same share"
    elif here.share is not None and full.share is not None:
        wanted = Fraction(full.share.over, ledger.samples(full)) * ledger.samples(here)
        if (here.share.first, here.share.last) != (full.share.first, full.share.last):
            yield (*path, "multimodal"), f"{here.share}", f"{full.share}"
        elif abs(here.share.over - wanted) > 1 or (here.share.over == 0) != (full.share.over == 0):
            yield (*path, "multimodal"), f"a ramp over {here.share.over} samples", f"{float(wanted):.1f}"
    if (here.coca is None) != (full.coca is None):
        yield (*path, "coca"), "a CoCa objective on one side only", "the same objective"
    elif here.coca is not None and full.coca is not None:
        caps, known = [one.cap for one in here.coca.resolutions], [one.cap for one in full.coca.resolutions]
        weights = [timeless(one.caption_weight) for one in (here.coca, full.coca)]
        if weights[0] != weights[1] or _order(caps) != _order(known):
            yield (*path, "coca"), f"caps of {caps} pixels, weight {weights[0]}", f"the order of {known}"


def _rates(context: Context, here: Stage, full: Stage) -> Iterator[Difference]:
    """Piece by piece: same shape, same stretch of it, one factor between the rates."""
    mine, theirs = pieces_of(here), pieces_of(full)
    if len(mine) != len(theirs):
        yield ("schedule",), f"{len(mine)} pieces", f"{len(theirs)}"
        return
    factor = float(context.shrink.shrink.lr) if context.shrink.shrink else 1.0
    for number, (small, large) in enumerate(zip(mine, theirs, strict=True)):
        same = (small.shape, small.p0, small.p1) == (large.shape, large.p0, large.p1)
        rates = [(small.first, large.first), (small.last, large.last)]
        if not same or not all(isclose(a, b * factor, rel_tol=CLOSE) for a, b in rates):
            yield (
                ("schedule",),
                f"piece {number}: {small.shape} from {small.first:g} to {small.last:g}",
                f"{large.shape} from {large.first * factor:g} to {large.last * factor:g}",
            )


def _short_pieces(here: Stage) -> Iterator[Difference]:
    """A piece in which no step ends has no effect on training."""
    for phase in here.phases:
        for piece in pieces_of(here):
            inside = max(piece.start, phase.clock_start), min(piece.end, phase.clock_end)
            if inside[0] < inside[1] and not _a_step_ends(phase, inside[0], inside[1]):
                yield ("schedule",), f"a {piece.shape} piece in which no step of {phase.name} ends", "at least one step"


def _a_step_ends(phase: Phase, start: int, end: int) -> bool:
    first = ledger.step_at(phase, start - phase.clock_start).end + phase.clock_start
    return first <= end


def _order(values: list[int]) -> list[int]:
    """-1, 0 or 1 for every pair: how the second compares with the first."""
    return [(b > a) - (b < a) for a, b in combinations(values, 2)]


def _orders(context: Context, full: ResolvedPipeline) -> Iterator[Finding]:
    """Contexts keep their order strictly; budgets may become equal where a floor applies, never turn round."""
    both = [
        (name, number, phase, full.stages[name].phases[number])
        for name, _, number, phase in context.phases()
        if number < len(full.stages[name].phases)
    ]
    for (name, number, small, large), (other, number2, small2, large2) in combinations(both, 2):
        turned = (large.budget - large2.budget) * (small.budget - small2.budget) < 0 and large.unit == large2.unit
        turned = turned and "fixed" not in (small.packing, small2.packing)  # what a corpus comes to follows no scale
        if turned:
            pair = ((name, number, small.budget), (other, number2, small2.budget))
            least = " and ".join(said for one in pair if (said := _least(context, *one)))
            yield _turned(context, name, ("phases", number, "budget"), other, small.budget, small2.budget, least)
        if _order([large.context, large2.context]) != _order([small.context, small2.context]):
            yield _turned(context, name, ("phases", number, "context"), other, small.context, small2.context)


def _least(context: Context, name: str, number: int, budget: int) -> str:
    """Of a budget that is the least that the scale allows: by how many steps of what size."""
    raw, shrink = context.raw_phase(name, number), context.shrink.shrink
    step = context.shrink.largest_step(raw) if raw is not None else 0
    if shrink is None or budget != shrink.tokens.floor * step:
        return ""
    return f"that of {name} is the `floor`, {shrink.tokens.floor} steps of {step:,}"


def _turned(
    context: Context, name: str, path: tuple[str | int, ...], other: str, mine: int, theirs: int, least: str = ""
) -> Finding:
    entry = f"pipelines.{context.shrink.pipeline} in specs/scales/{context.pipeline.scale}.yaml"
    turned = f"a {path[-1]} of {mine:,}, against {theirs:,} of {other}"
    return context.finding(
        "I-35", name, path, observed=f"{turned}{'; ' if least else ''}{least}", expected="the order that full size has",
        repair=f"Correct {entry}, or the `batch` or `context` that makes such steps." if least else f"Correct {entry}.",
        found=turned,
    )  # fmt: skip
