"""What a stage trains: its phases, schedule and optimizer, which modules move, and the clock after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stages.spec import models, preference
from stages.spec.clocks import Clock, Extent, advance, schedule
from stages.spec.hand_over import Node, clock_before, ended_before, numbers_before, reach_before
from stages.spec.loader import LoadedStage
from stages.spec.nodes import Path
from stages.spec.numbers import Numbers
from stages.spec.objectives import Placed, unfit
from stages.spec.phases import PhaseMaker
from stages.spec.ranges import Reach
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Optimizer, Schedule
from stages.spec.schema.data import RawScale
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.stages import RawImport, RawStandIn, RawTrain
from stages.spec.scope import Scope
from stages.spec.validate import several


@dataclass(frozen=True)
class Training:
    """What a stage trains, where it does, and how far it has come after it."""

    clock: Clock
    reach: Reach  # how far the lineage has read
    phases: tuple[Phase, ...] = ()
    schedule: Schedule | None = None
    optimizer: Optimizer | None = None
    extent: Extent | None = None  # how far the named schedule is read
    numbers: Mapping[tuple[str, str], Extent] = field(default_factory=dict)  # the same of other numbers


def training(
    scope: Scope, loaded: LoadedStage, above: Mapping[str, Node], modules: Mapping[str, Model], tokenizer: str
) -> Training:
    """The training of a stage whose parents are `above`. Raises InvalidSpecs."""
    before, reach = clock_before(scope.pipeline, loaded, above), reach_before(loaded, above)
    found = trains(loaded, scope.raw_scale)
    if found is None:
        return Training(before, reach)
    at, raw = found
    _phases_apart(loaded, at, raw.phases)
    maker = PhaseMaker(scope, loaded, (*at, "phases"), modules, tokenizer)
    moved = [name for name in modules if not isinstance(raw, RawTrain) or name in raw.train]
    wrong = [
        *unfit(Placed(loaded.document, maker.path, modules, moved), raw.phases, maker.kinds(raw.phases)),
        *preference.unfit(loaded.document, maker.path, raw, modules),
    ]
    if wrong:
        raise several(wrong)
    phases = maker.counted(raw.phases)
    spans = advance(before, phases, scope.scale)
    ended = ended_before(loaded, above)
    met, left = (before.entered, "") if before.spans or ended is None else (ended.rate, ended.left)
    lr, clock, extent = schedule(
        scope.pipeline, loaded, (*at, "schedule"), raw.schedule, before, spans, met, scope.scale, left
    )  # fmt: skip
    numbers = Numbers(scope.pipeline, loaded, before, spans, numbers_before(loaded, above, before), scope.scale)
    resolved, reach = maker.all(phases, spans[len(before.spans) :], reach, numbers)
    optimizer = models.optimizer(scope.pipeline, loaded, (*at, "optimizer"), raw.optimizer, numbers)
    # Nothing continues a stand-in's schedule.
    clock = replace(clock, numbers=numbers.reached) if isinstance(raw, RawTrain) else Clock(None, (), None)
    return Training(clock, reach, resolved, lr, optimizer, extent, numbers.extents)


def trains(loaded: LoadedStage, scale: RawScale) -> tuple[Path, RawTrain | RawStandIn] | None:
    """What a stage says of its training, and where: its own, or its stand-in's; None where nothing is trained."""
    raw = loaded.raw
    if isinstance(raw, RawTrain):
        return (), raw
    if not isinstance(raw, RawImport) or scale.has_releases:
        return None
    if raw.stand_in is None:
        raise loaded.document.error(
            ("release",), "no `stand_in`", f"one at scale {scale.scale}", "Add `stand_in: ...`."
        )  # fmt: skip
    return ("stand_in",), raw.stand_in


def moved(loaded: LoadedStage, modules: Mapping[str, Model], training: Training) -> tuple[str, ...]:
    """Modules that are trained, in order; every module of a train stage is in exactly one of train and frozen."""
    raw = loaded.raw
    if not isinstance(raw, RawTrain):
        return tuple(modules) if training.phases else ()
    for key, named in (("train", raw.train), ("frozen", raw.frozen)):
        for module in named:
            if module not in modules:
                raise loaded.document.error(
                    (key,),
                    f"the unknown module {module!r}",
                    ", ".join(modules),
                    "Use one of these: a module is trained or frozen whole.",
                )
    for module in modules:
        if (module in raw.train) == (module in raw.frozen):
            found = "both train and frozen" if module in raw.train else "neither train nor frozen"
            raise loaded.document.error(
                ("modules", module),
                f"a module in {found}",
                "each module in exactly one of `train` and `frozen`",
                "Say whether it moves.",
                "I-34",
            )
    return tuple(module for module in modules if module in raw.train)


def _phases_apart(loaded: LoadedStage, at: Path, phases: Sequence[RawPhase]) -> None:
    """A clock counts in one unit, and phases go by their names: in sources, waivers, metrics."""
    names: list[str] = []
    for index, phase in enumerate(phases):
        if phase.name in names:
            path = (*at, "phases", index, "name")
            raise loaded.document.error(path, f"{phase.name!r} a second time", "each name once", "Rename a phase.")
        names.append(phase.name)
        if phase.unit != phases[0].unit:
            raise loaded.document.error(
                (*at, "phases", index, "unit"), phase.unit, phases[0].unit, "A clock counts in one unit."
            )
