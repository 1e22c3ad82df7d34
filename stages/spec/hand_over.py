"""What a stage takes over from its parents, and hands on: clock, rate, how far data has been read, optimizer state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from stages.spec.averages import AVERAGE
from stages.spec.clocks import ZERO, Clock, Extent, Reached, pieces_of
from stages.spec.graph import parent_of
from stages.spec.language_model import LanguageModel
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.points import ALL
from stages.spec.ranges import Reach, farthest
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Optimizer
from stages.spec.schema.stages import RawImport, RawMerge, RawTrain, RawUpcycle
from stages.spec.variants import written_as


@dataclass(frozen=True)
class Node:
    """A resolved stage and what its children need to know of it."""

    ref: str  # "pipeline/stage", in the pipeline that has a rule for it
    stage: Stage
    clock: Clock
    reach: Reach
    extent: Extent | None
    state: Mapping[str, Optimizer]  # modules whose optimizer state its result has, and what made it
    loops: int | None  # of a looped model, as it was last trained
    weights_of: str  # the stage whose weights it has: of a keep or an export that of its parent, else itself
    numbers: Mapping[tuple[str, str], Extent] = field(default_factory=dict)  # by number and the schedule that gives it


def clock_before(pipeline: LoadedPipeline, loaded: LoadedStage, above: Mapping[str, Node]) -> Clock:
    """The clock at which the stage begins."""
    raw = loaded.raw
    if isinstance(raw, RawImport) or not above:
        _no_parent_to_continue(loaded)
        return ZERO
    if not isinstance(raw, RawTrain):
        node = next(iter(above.values()))
        if isinstance(raw, RawMerge):
            return _of_all(above)
        reset = isinstance(raw, RawUpcycle) and raw.init.clock == "reset"
        return Clock(None, (), node.clock.rate, numbers=node.clock.numbers) if reset else node.clock
    match raw.init.clock:
        case "reset":
            return ZERO
        case "continue":
            return _continued(pipeline, loaded, raw, above)
        case _:
            assert_never(raw.init.clock)


def _of_all(above: Mapping[str, Node]) -> Clock:
    """A new clock, with the rate and the numbers that all stages of a merge have come to, where they are the same."""
    clocks = [node.clock for node in above.values()]
    rates = {one.rate for one in clocks}
    numbers = {
        name: Reached(reached.value, None, None)
        for name, reached in clocks[0].numbers.items()
        if all(name in one.numbers and one.numbers[name].value == reached.value for one in clocks)
    }
    if len(rates) == 1:
        return Clock(None, (), rates.pop(), numbers=numbers)
    apart = (
        f"{node.stage.name} ended "
        + ("without a schedule" if node.clock.rate is None else f"at {float(node.clock.rate):g}")
        + (f" ({node.clock.left})" if node.clock.left else "")
        for node in above.values()
    )  # fmt: skip
    return Clock(None, (), None, numbers=numbers, left=" and ".join(apart))


def _continued(pipeline: LoadedPipeline, loaded: LoadedStage, raw: RawTrain, above: Mapping[str, Node]) -> Clock:
    """The clock of the one parent that reads the same schedule."""
    pieces_of(pipeline, loaded.document, ("schedule",), raw.schedule)
    same = [node.clock for node in above.values() if node.clock.schedule == raw.schedule]
    if not same and (written := written_as(raw, raw.schedule)) != raw.schedule:
        raise loaded.document.error(
            ("variants", "field"), f"a part of schedule {written!r}, on a clock that goes on",
            "a schedule of the variants alone: what lies behind has been read",
            "Write the part that varies as another schedule, `from: current`, with `clock: reset`.", "I-04",
        )  # fmt: skip
    if len(same) != 1:
        names = ", ".join(sorted({node.clock.schedule or "no schedule" for node in above.values()}))
        raise loaded.document.error(
            ("init", "clock"),
            f"continue, with schedule {raw.schedule!r} after {names}",
            "continue after exactly one parent that reads the same schedule",
            "Name the parent's schedule, or write `clock: reset`.",
            "I-04",
        )
    if same[0].spans[-1].phase.unit != raw.phases[0].unit:
        raise loaded.document.error(
            ("phases", 0, "unit"), raw.phases[0].unit, same[0].spans[-1].phase.unit, "A clock counts in one unit."
        )
    return same[0]


def _no_parent_to_continue(loaded: LoadedStage) -> None:
    """A stage without parents cannot continue a clock or data, and has no model to enlarge."""
    raw = loaded.raw
    if isinstance(raw, RawUpcycle):
        raise loaded.document.error(
            ("init", "from"), "nothing", "the stage whose model grows", "Add `from: ...`.", "I-06"
        )
    if isinstance(raw, RawTrain):
        for key, found, allowed in (("clock", raw.init.clock, "reset"), ("data", raw.init.data, "restart")):
            if found == "continue":
                raise loaded.document.error(
                    ("init", key), found, allowed, f"Without `from` there is no {key} to continue.", "I-06"
                )


def numbers_before(loaded: LoadedStage, above: Mapping[str, Node], before: Clock) -> Mapping[str, Reached]:
    """What other numbers have come to: on a clock that goes on those of its stage, else those of the same parent."""
    ended = before if before.spans else ended_before(loaded, above)
    return {} if ended is None else ended.numbers


def ended_before(loaded: LoadedStage, above: Mapping[str, Node]) -> Clock | None:
    """The clock whose rate the schedule's first piece meets: the parent's of the first trained module that inherits."""
    raw = loaded.raw
    if not isinstance(raw, RawTrain):
        return None
    for module in raw.train:
        parent = parent_of(loaded, module)
        if raw.init.weights.get(module, raw.init.weights.get(ALL)) in ("inherit", AVERAGE) and parent is not None:
            return above[parent].clock
    return None


def reach_before(loaded: LoadedStage, above: Mapping[str, Node]) -> Reach:
    """How far the lineage has read: the farthest over the parents, nothing after a restart."""
    rule = data_rule(loaded)
    match rule:
        case "restart":
            return {}
        case "continue":
            return farthest(*(node.reach for node in above.values()))
        case _:
            assert_never(rule)


def clock_rule(loaded: LoadedStage) -> Literal["continue", "reset"]:
    """Whether the token count that the schedule reads goes on."""
    raw = loaded.raw
    if isinstance(raw, (RawTrain, RawUpcycle)):
        return raw.init.clock
    return "reset" if isinstance(raw, (RawImport, RawMerge)) else "continue"


def data_rule(loaded: LoadedStage) -> Literal["continue", "restart"]:
    """Whether the stage reads on where its ancestors stopped."""
    raw = loaded.raw
    if isinstance(raw, (RawTrain, RawUpcycle)):
        return raw.init.data
    return "restart" if isinstance(raw, RawImport) else "continue"


def optimizer_states(stage: Stage, above: Iterable[Node]) -> dict[str, Optimizer]:
    """The optimizer of each module whose state is in the result: of those that the stage trained or, where it trains
    nothing, of those that it takes over with their state. `above` are its parents.
    """
    if stage.phases:
        return {} if stage.optimizer is None else dict.fromkeys(stage.trained, stage.optimizer)
    if stage.kind == "export":
        return {}  # weights only
    found: dict[str, Optimizer] = {}
    by_ref = {node.ref: node.state for node in above}
    for name, init in stage.init.items():
        if init.optimizer != "inherit" or init.parent is None or name not in by_ref[init.parent]:
            continue
        made_by = by_ref[init.parent][name]
        # Experts have copies of moments, and no average (stages/models/upcycle_experts.py).
        found[name] = made_by if init.experts is None else made_by.model_copy(update={"ema": None})
    return found


def loops(stage: Stage, above: Iterable[Node]) -> int | None:
    """As last trained, through keep, merge and upcycle, which keeps layers times loops (24 x 8 = 48 x 4).

    None without a looped model, and where it came in as a release: its config.json says it.
    """
    if stage.phases:
        last = stage.phases[-1].loops
        return None if last is None else last.count
    by_ref = {node.ref: node for node in above}
    for name, model in stage.modules.items():
        if not isinstance(model, LanguageModel) or not model.LOOPED:
            continue
        parent = by_ref.get(stage.init[name].parent or next(iter(stage.parents), ""))
        if parent is None or parent.loops is None:
            return None
        before = parent.stage.modules[name]
        assert isinstance(before, LanguageModel), "a model is handed on as what it is"
        return parent.loops * before.layers // model.layers
    return None
