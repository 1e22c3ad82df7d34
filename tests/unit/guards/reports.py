"""Reports of an engine that did everything right, for stages small enough to write out."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from stages.contract import ledger, rope, schedule
from stages.contract.mixture import Mixture
from stages.guards.report import BuiltReport, ConfigReport, EndReport, ExitReport, ModuleReport, PhaseReads, StepRow
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from stages.spec.resolved_phases import ShareRamp, Source
from tests.unit.train import tiny

ROPE = Rope(base=5e5, llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192), interpolation=4.0)
PARENT = "tiny/parent"
WEIGHTS = {"model.embed_tokens.weight": "e", "model.layers.0.q.weight": "a", "model.layers.1.q.weight": "b"}
MOMENTS = {"llm.model.layers.0.q.weight.exp_avg": "m", "llm.model.layers.1.q.weight.exp_avg": "n", "llm.step": "s"}


def stage() -> Stage:
    """A model that inherits everything, beside a frozen projector; two groups of corpora; two phases of one epoch."""
    init = Init(weights="inherit", parent=PARENT, release=None, optimizer="inherit", layer_map=None, stand_in=False)
    fresh = init.model_copy(update={"weights": "fresh", "parent": None, "optimizer": "reset"})
    corpora: tuple[tuple[str, Literal["text", "multimodal"], int], ...] = (
        ("prose", "text", 2), ("code", "text", 1), ("captions", "multimodal", 1),
    )  # fmt: skip
    sources = tuple(
        Source(corpus=name, group=group, weight=weight, start=0, end=10_000, digest="0" * 64)
        for name, group, weight in corpora
    )
    ramp = ShareRamp(first=(0, 1), last=(1, 2), over=20)
    first = tiny.phase("joint", name="first", sources=sources, share=ramp)
    second = first.model_copy(update={"name": "second", "clock_start": first.budget})
    return tiny.stage(
        {"llm": tiny.LLAMA, "projector": tiny.PROJECTOR}, (first, second), ("llm",),
        rope=ROPE, init={"llm": init, "projector": fresh}, parents=(PARENT,), data="continue",
    )  # fmt: skip


def upcycled() -> Stage:
    """A deeper child: layers 0 and 1, then 0 and 1 again."""
    made = stage()
    init = made.init["llm"].model_copy(update={"weights": "upcycle", "layer_map": (0, 1, 0, 1)})
    return made.model_copy(update={"init": {**made.init, "llm": init}, "phases": (), "trained": (), "kind": "upcycle"})


def preferred() -> Stage:
    """Preference training of a model that inherits everything."""
    made = stage()
    phase = made.phases[0].model_copy(
        update={
            "objective": "preference", "packing": "whole", "share": None, "preference": tiny.PREFERENCE,
            "sources": tuple(one for one in made.phases[0].sources if one.group == "text"),
        }
    )  # fmt: skip
    modules, init = {"llm": made.modules["llm"]}, {"llm": made.init["llm"]}
    schedule = tiny.schedule(phase.budget)
    changes = {"phases": (phase,), "modules": modules, "init": init, "schedule": schedule}
    return made.model_copy(update=changes)


def built(made: Stage) -> BuiltReport:
    """Before step 1."""
    assert made.schedule is not None
    assert made.rope is not None
    clock = ledger.step_at(made.phases[0], 0).end if made.phases else 0
    rate = {"llm": schedule.lr(made.schedule, clock)} if made.phases else {}
    frequencies = tuple(rope.inv_freq(made.rope, tiny.LLAMA.head_dim))
    weights, moments = WEIGHTS, MOMENTS
    if made.init["llm"].layer_map:
        weights = WEIGHTS | {"model.layers.2.q.weight": "a", "model.layers.3.q.weight": "b"}
        moments = MOMENTS | {"llm.model.layers.2.q.weight.exp_avg": "m", "llm.model.layers.3.q.weight.exp_avg": "n"}
    trains = 3 if made.phases else 0
    llm = ModuleReport(weights, WEIGHTS, frequencies, (1.0, 1.0), moments, MOMENTS, True, trains, 3)
    projector = ModuleReport({"w": "p"}, None, None, (1.0, 1.0), {}, None, False, 0, 1)
    return BuiltReport({"llm": llm, "projector": projector}, clock, rate, rate)


def done(made: Stage) -> EndReport:
    """After the last step. The second phase reads on where the first stopped, the first where the parents did."""
    assert made.schedule is not None
    rows, reads = [], []
    for number, phase in enumerate(made.phases):
        for step in ledger.steps(phase):
            clock = phase.clock_start + step.end
            rows.append(StepRow(clock, schedule.lr(made.schedule, clock), 7))
        order = Mixture(phase)
        picked = tuple(order.pick(i)[0] for i in range(ledger.samples(phase)))
        stretch = ((1000 * (number + 1), 1000 * (number + 1) + 800, 1),)
        supervised = 7 * ledger.count(phase)
        reads.append(PhaseReads({"prose": stretch, "code": stretch}, picked, supervised, 30, 30, 0, 0))
    assert all(before.clock < after.clock for before, after in pairwise(rows))
    last = made.phases[-1]
    return EndReport(
        steps=len(rows), consumed=sum(phase.budget for phase in made.phases), clock=last.clock_start + last.budget,
        rows=tuple(rows), before={"llm": {"w": "0"}, "projector": {"w": "1"}},
        after={"llm": {"w": "2"}, "projector": {"w": "1"}}, reads=tuple(reads), lineage={"prose": ((0, 1000),)},
        exits=ExitReport((1.0, 1.0 - 1e-9), (0.0, 1.0986), 3),
    )  # fmt: skip


def config(made: Stage) -> ConfigReport:
    """As hf_config writes it: llama3 with interpolation on top is a longrope."""
    assert made.rope is not None
    factors = rope.longrope_factors(made.rope, tiny.LLAMA.head_dim)
    scaling = {"rope_type": "longrope", "long_factor": factors}
    return ConfigReport(made.max_context, made.rope.base, scaling, tiny.LLAMA.head_dim)
