"""What changes where a clock goes on, and may: the tokens of a step, while the rate stays, and the weight decay."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.spec import points
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.points import RawPoint
from stages.spec.schema.edges import AT
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.stages import RawKeep, RawTrain, RawUpcycle

MOST = 4  # a ramp doubles; this is another batch, or longer sequences under the same one
EARLY = 100  # DeepSeek-V3 changes its batch after a 32nd (arXiv 2412.19437), Moonlight after a 26th (2502.16982)
DECAY = "weight_decay"
LEAST = Fraction(9, 10)  # whole sequences of a longer context seldom come to quite as many tokens


def stepped(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each phase that begins with fewer tokens a step than the one before it on the same clock ended with.

    So too where they are MOST times as many or more.
    """
    for name, stage in loaded.stages.items():
        if not isinstance(stage.raw, RawTrain):
            continue
        above = _read_on(loaded, stage.raw)
        before = None if above is None else above.phases[-1]
        for number, phase in enumerate(stage.raw.phases):
            was, now = _tokens(before, -1), _tokens(phase, 0)
            if before is not None and before.unit == phase.unit and not LEAST * was <= now < MOST * was:
                where = stage.document.where(("phases", number, "batch"))
                after = f"phase {before.name}" if number else f"its parent, where clock: {stage.raw.init.clock}"
                yield f"{where}: {name} begins with {now:,} {phase.unit} a step, after {was:,} of {after}."
            yield from _early(stage, number, phase) if not isinstance(stage.raw, RawPoint) else ()
            for step in range(1, len(phase.batch)):
                was, now = _tokens(phase, step - 1), _tokens(phase, step)
                if now < was:
                    where = stage.document.where(("phases", number, "batch", step))
                    yield f"{where}: {name} goes on with {now:,} {phase.unit} a step, after {was:,}: its ramp falls."
            before = phase


def _early(stage: LoadedStage, number: int, phase: RawPhase) -> Iterator[str]:
    """A phase's only other batch, which begins in its first hundredth: a prefix too small by a thousand."""
    if len(phase.batch) == 2 and isinstance(phase.budget, int) and phase.batch[1].after * EARLY < phase.budget:
        where, share = stage.document.where(("phases", number, "batch", 1)), phase.batch[1].after / phase.budget
        yield f"{where}: {stage.raw.stage} changes its batch after {share:.2%} of its budget."


def decayed(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each stage whose weight decay is another constant than that of the stage whose clock goes on."""
    for name, stage in loaded.stages.items():
        above = _read_on(loaded, stage.raw) if isinstance(stage.raw, RawTrain) else None
        if isinstance(stage.raw, RawTrain) and above is not None:
            was, now = (loaded.raw.optimizers.get(one.optimizer, {}).get(DECAY) for one in (above, stage.raw))
            if isinstance(was, float) and isinstance(now, float) and was != now:
                where = loaded.document.where(("optimizers", stage.raw.optimizer, DECAY))
                after = f"after {was:g} of {above.stage}, whose clock goes on"
                yield f"{where}: {name} trains with {DECAY} {now:g}, {after}."


def _tokens(phase: RawPhase | None, step: int) -> int:
    return phase.batch[step].batch * phase.context if phase is not None else 0


def _read_on(loaded: LoadedPipeline, raw: RawTrain) -> RawTrain | None:
    """The stage whose clock goes on: the one that reads the same schedule."""
    if raw.init.clock != "continue":
        return None
    above = [_trained(loaded, parent) for parent in raw.init.from_.values()]
    return next((one for one in above if one is not None and one.schedule == raw.schedule), None)


def _trained(loaded: LoadedPipeline, name: str) -> RawTrain | None:
    """The stage that a parent's clock is of; none for a point in it, which ends in another phase."""
    stage = loaded.stages.get(name)
    while stage is not None and isinstance(stage.raw, (RawKeep, RawUpcycle)):
        parent = next((text for _, text in points.origins(stage.raw)), "")
        stage = loaded.stages.get(parent.partition(AT)[0]) if AT not in parent else None
    return stage.raw if stage is not None and isinstance(stage.raw, RawTrain) else None
