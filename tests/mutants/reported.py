"""Reports of an engine with a defect in each: what guards compare with the stage, before step 1 and at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stages.check.findings import Finding
from stages.contract import rope, schedule
from stages.guards import run
from stages.guards.report import BuiltReport, ConfigReport, EndReport, PairReport
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from tests.unit.guards import reports
from tests.unit.train import tiny

STAGE, DEEPER, PREFERRED = reports.stage(), reports.upcycled(), reports.preferred()


def found(made: Stage, report: Any) -> list[Finding]:
    kinds = {BuiltReport: run.AT_START, EndReport: run.AT_END, ConfigReport: run.AT_EXPORT}
    guards: Any = kinds[type(report)]
    return [finding for guard in guards for finding in guard(made, report)]


def module(name: str = "llm", made: Stage = STAGE, **changes: Any) -> BuiltReport:
    report = reports.built(made)
    return replace(report, modules={**report.modules, name: replace(report.modules[name], **changes)})


def end(**changes: Any) -> EndReport:
    return replace(reports.done(STAGE), **changes)


def read(number: int = 0, **changes: Any) -> EndReport:
    report = reports.done(STAGE)
    assert report.reads is not None
    phases = list(report.reads)
    phases[number] = replace(phases[number], **changes)
    return replace(report, reads=tuple(phases))


def frequencies(base: float = 5e5, llama3: bool = True, interpolation: float = 4.0) -> tuple[float, ...]:
    other = Rope(base=base, llama3=reports.ROPE.llama3 if llama3 else None, interpolation=interpolation)
    return tuple(rope.inv_freq(other, tiny.LLAMA.head_dim))


def row(number: int, **changes: Any) -> EndReport:
    rows = list(reports.done(STAGE).rows)
    rows[number] = replace(rows[number], **changes)
    return end(rows=tuple(rows))


def late(number: int) -> EndReport:
    """One step's clock is a row ahead of the ledger's, with the rate that the schedule has there."""
    assert STAGE.schedule is not None
    clock = reports.done(STAGE).rows[number].clock + STAGE.phases[0].context
    return row(number, clock=clock, lr=schedule.lr(STAGE.schedule, clock))


REFERENCE, PAIRS = {"llm": {"w": "0"}}, {"chosen_ratio": 0.0, "rejected_ratio": 0.0, "margin": 0.0, "accuracy": 0.0}
FIRST = {**PAIRS, "chosen_nll": 3.0, "loss": 0.2 * 3.0 + 0.6931472}


def referred(**changes: Any) -> BuiltReport:
    report = reports.built(PREFERRED)
    llm = replace(report.modules["llm"], read_frozen=reports.WEIGHTS)
    return replace(report, modules={"llm": replace(llm, **changes)})


MEASURED = PairReport(ratios=(0.5, -0.25), policy=(-9.5, -11.0), reference=(-10.0, -10.75))


def preferred(row: dict[str, float] = FIRST, margin: float = 0.5, **changes: Any) -> EndReport:
    report = reports.done(PREFERRED)
    rows = (replace(report.rows[0], pairs=row), *(replace(one, pairs={"margin": margin}) for one in report.rows[1:]))
    fields = {"rows": rows, "frozen_before": REFERENCE, "frozen_after": REFERENCE, "pair": MEASURED, **changes}
    return replace(report, **fields)


GOOD_BUILT, GOOD_END, GOOD_CONFIG = reports.built(STAGE), reports.done(STAGE), reports.config(STAGE)
RATE = GOOD_BUILT.rates["llm"]
PICKED = GOOD_END.reads[0].picked if GOOD_END.reads else ()
DEEP = reports.built(DEEPER).modules["llm"]
YARN = {"rope_type": "yarn", "factor": 1.0, "original_max_position_embeddings": 64, "beta_fast": 4.0, "beta_slow": 1.0}
SWAPPED = {**DEEP.weights, "model.layers.2.q.weight": "b", "model.layers.3.q.weight": "a"}
LEFT_FRESH = {**DEEP.weights, "model.layers.3.q.weight": "random"}
MUTANTS: tuple[tuple[str, str, Callable[[], Any]], ...] = (
    ("I-01", "a group left at the old rate", lambda: replace(GOOD_BUILT, rates={"llm": RATE, "muon": 3e-4})),
    ("I-01", "a rate off by one bit", lambda: replace(GOOD_BUILT, rates={"llm": RATE * (1 + 2**-52)})),
    ("I-01", "no group at all", lambda: replace(GOOD_BUILT, rates={})),
    ("I-02", "a scheduler stepped by asking", lambda: replace(GOOD_BUILT, again={"llm": RATE * 2})),
    ("I-02", "one step at another rate", lambda: row(3, lr=0.02)),
    ("I-02", "a step made twice", lambda: row(3, clock=reports.done(STAGE).rows[2].clock)),
    ("I-02", "a step that ends a row late, at the rate of its clock", lambda: late(3)),
    ("I-08", "a step too many", lambda: end(steps=GOOD_END.steps + 1)),
    ("I-08", "a step too few, and its units", lambda: end(steps=GOOD_END.steps - 1, consumed=GOOD_END.consumed - 128)),
    ("I-09", "units counted once per rank", lambda: end(consumed=2 * GOOD_END.consumed)),
    ("I-09", "a remainder dropped", lambda: end(consumed=GOOD_END.consumed - 16, clock=GOOD_END.clock - 16)),
    ("I-12", "the parent's base wins", lambda: module(frequencies=frequencies(base=1e4))),
    ("I-12", "no frequencies", lambda: module(frequencies=None)),
    ("I-13", "scaling dropped", lambda: module(frequencies=frequencies(llama3=False, interpolation=1.0))),
    ("I-13", "queries and keys multiplied where nothing says so", lambda: module(factors=(1.1, 1.0))),
    ("I-13", "scores multiplied where nothing says so", lambda: module(factors=(1.0, 1.3))),
    ("I-12", "interpolation of another stage", lambda: module(frequencies=frequencies(interpolation=8.0))),
    ("I-14", "the last phase's context instead of the lineage's", lambda: replace(GOOD_CONFIG, max_position=16)),
    ("I-14", "the parent's base in config.json", lambda: replace(GOOD_CONFIG, rope_theta=1e4)),
    ("I-14", "a factor of attention that the stage has not", lambda: replace(GOOD_CONFIG, rope_scaling=YARN)),
    ("I-14", "scaling left out of config.json", lambda: replace(GOOD_CONFIG, rope_scaling=None)),
    ("I-15", "one tensor as it was initialised", lambda: module(weights={**reports.WEIGHTS, "model.norm": "x"})),
    ("I-15", "nothing restored", lambda: module(parent_weights=None)),
    ("I-15", "moments of two layers exchanged",
     lambda: module(moments={**reports.MOMENTS, "llm.model.layers.0.q.weight.exp_avg": "n"})),
    ("I-15", "moments that are all zero", lambda: module(moments_moved=False)),
    ("I-17", "spans outside of the phase's stretch", lambda: read(outside=1)),
    ("I-17", "tokens that are not those of the place", lambda: read(foreign=1)),
    ("I-18", "a document twice in one epoch", lambda: read(segments={"prose": ((1000, 1010, 2), (1010, 1800, 1))})),
    ("I-18", "a document of the stage above", lambda: read(segments={"prose": ((999, 1800, 1),)})),
    ("I-18", "a document of the phase before", lambda: read(1, segments={"code": ((1799, 1900, 1),)})),
    ("I-20", "the first answer token of a row dropped", lambda: row(0, supervised=6)),
    ("I-20", "prompts supervised too", lambda: row(0, supervised=70)),
    ("I-20", "BOS from template and tokenizer", lambda: read(bos=31)),
    ("I-20", "a document without BOS", lambda: read(bos=29)),
    ("I-30", "text alone", lambda: read(picked=tuple(0 if one == 2 else one for one in PICKED))),
    ("I-30", "all of one source first", lambda: read(picked=tuple(sorted(PICKED)))),
    ("I-32", "a sum that is not 1",
     lambda: end(exits=replace(GOOD_END.exits, sums=(1.0, 0.9)))),  # type: ignore[type-var]
    ("I-32", "more entropy than log T",
     lambda: end(exits=replace(GOOD_END.exits, entropies=(1.2,)))),  # type: ignore[type-var]
    ("I-32", "an entropy that is no number",
     lambda: end(exits=replace(GOOD_END.exits, entropies=(float("nan"),)))),  # type: ignore[type-var]
    ("I-34", "a frozen module that takes a gradient", lambda: module("projector", takes_gradient=1)),
    ("I-34", "a trained module that takes none", lambda: module(takes_gradient=0)),
    ("I-34", "a frozen module that moved", lambda: end(after={"llm": {"w": "2"}, "projector": {"w": "9"}})),
    ("I-34", "a trained module that did not", lambda: end(after=GOOD_END.before)),
)  # fmt: skip
UPCYCLED: tuple[tuple[str, str, Any], ...] = (
    ("I-31", "the map turned round", module(made=DEEPER, weights=SWAPPED)),
    ("I-31", "a new layer left as it was initialised", module(made=DEEPER, weights=LEFT_FRESH)),
    ("I-15", "moments that did not follow their layers", module(made=DEEPER, moments=reports.MOMENTS | {"llm.x": "m"})),
)
OF_PAIRS: tuple[tuple[str, str, Any], ...] = (
    ("I-49", "no reference", referred(read_frozen=None)),
    (
        "I-49",
        "a reference from a checkpoint",
        referred(read_frozen={**reports.WEIGHTS, "model.layers.0.q.weight": "c"}),
    ),
    ("I-49", "a reference that moved", preferred(frozen_after={"llm": {"w": "1"}})),
    ("I-49", "margins before anything moved", preferred({**FIRST, "margin": 1e-3})),
    ("I-49", "the loss of a sum", preferred({**FIRST, "loss": 2 * FIRST["loss"]})),
    ("I-49", "the likelihood left out", preferred({**FIRST, "loss": 0.6931472})),
)
