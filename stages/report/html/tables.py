"""The report's tables as plain texts: stages, evaluations, hand-overs, budgets, time and memory, environments."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stages.contract import ledger
from stages.contract.schedule import lr, lr_before
from stages.plan.stage import StagePlan
from stages.report.headlines import MEASURES, VALIDATION, Measure
from stages.report.html.views import View
from stages.report.metrics import first_and_last_loss, seconds_in_steps
from stages.report.number_format import count, lengths, loss, rate, seconds
from stages.spec.resolved import Init, Stage

Figures = Mapping[str, Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]]  # scale -> ref -> before, after
DASH = "–"


@dataclass(frozen=True)
class Table:
    """Columns and rows of texts; a view next to a row is linked; `right` are the numbers of columns of figures."""

    columns: Sequence[str]
    rows: list[tuple[View | None, list[str]]] = field(default_factory=list)
    right: Sequence[int] = ()


def stages(views: Sequence[View]) -> Table:
    """What each stage is, did and came to."""
    table = Table(("stage", "state", "budget", "steps", "context", "training loss", "time", "per second", "key"),
                  right=(2, 3, 4, 5, 6, 7))  # fmt: skip
    for view in views:
        stage, metrics = view.stage, view.metrics
        contexts = " → ".join(lengths(stage))
        spent = seconds_in_steps(view.timing)
        trained = [DASH] * 4
        if metrics is not None:
            first, last = first_and_last_loss(metrics)
            consumed = int(metrics["consumed"].iloc[-1])
            trained = [
                f"{len(metrics):,}", f"{loss(first)} → {loss(last)}", seconds(spent) if spent else DASH,
                count(consumed / spent) if spent else DASH,
            ]  # fmt: skip
        unit = f"{count(stage.budget)} {stage.phases[0].unit}" if stage.phases else stage.kind
        row = [stage.name, view.verdict.state, unit, trained[0], contexts or DASH, *trained[1:], view.verdict.key[:8]]
        table.rows.append((view, row))
    return table


def evaluations(views: Sequence[View], others: Figures) -> Table:
    """Every headline evaluation before and after each stage; with other seeds, their lowest and highest too."""
    spread = ("over all seeds",) if others else ()
    table = Table(("stage", "evaluation", "before", "after", "change", *spread), right=(2, 3))
    for view in views:
        before, after = view.figures("before"), view.figures("after")
        first: View | None = view
        for measure in (VALIDATION, *MEASURES):
            if measure.name not in after:
                continue
            row = [view.stage.name if first else "", measure.label]
            row += [measure.text(side[measure.name]) if measure.name in side else DASH for side in (before, after)]
            row.append(_change(measure, before, after))
            if others:
                finals = (found[view.ref][1] for found in others.values() if view.ref in found)
                seeds = [after[measure.name], *(one[measure.name] for one in finals if measure.name in one)]
                row.append(
                    f"{measure.text(min(seeds))} to {measure.text(max(seeds))}, mean "
                    f"{measure.text(statistics.fmean(seeds))} ({len(seeds)} seeds)" if len(seeds) > 1 else DASH
                )  # fmt: skip
            table.rows.append((first, row))
            first = None
    return table


def _change(measure: Measure, before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """How much a measure moved, and whether that is the better way; figures that read the same are no change."""
    if measure.name not in before or measure.text(before[measure.name]) == measure.text(after[measure.name]):
        return DASH
    moved = after[measure.name] - before[measure.name]
    better = (moved > 0) == (measure.better == "higher")
    text = f"{moved * 100:+.1f} points" if measure.form == "share" else f"{moved:+.3f}"
    return f"{text}, {'better' if better else 'worse'}"


def hand_overs(views: Sequence[View]) -> Table:
    """What each stage takes from its parents."""
    table = Table(("stage", "module", "weights from", "optimizer", "clock", "data", "learning rate, before → after"))
    by_ref = {view.ref: view.stage for view in views}
    for view in views:
        stage = view.stage
        groups: dict[tuple[str, str], list[str]] = {}
        for module, init in stage.init.items():
            groups.setdefault((_weights(stage, init), init.optimizer), []).append(module)
        for (weights, optimizer), modules in groups.items():
            trains = bool(stage.phases)
            clock, data = (stage.clock, stage.data) if trains else (DASH, DASH)
            row = [stage.name, ", ".join(modules), weights, optimizer if trains else DASH, clock, data,
                   _rates(stage, stage.init[modules[0]], by_ref)]  # fmt: skip
            table.rows.append((view, row))
    return table


def _weights(stage: Stage, init: Init) -> str:
    """Whose weights a module takes, and how; a merge takes those of all parents."""
    parents = [] if init.weights == "fresh" else [init.parent] if init.parent else stage.parents
    whose = init.release or ", ".join(one.removeprefix(f"{stage.pipeline}/") for one in parents) or "fresh"
    how = [", a stand-in"] * init.stand_in + [", its average"] * bool(init.average)
    how += [f", {init.weights}d"] * (init.weights in ("upcycle", "merge"))
    return "".join([whose, *how])


def _rates(stage: Stage, init: Init, stages: Mapping[str, Stage]) -> str:
    """The rate that a module's parent ends with, and the first of this stage; the first alone for new weights."""
    if stage.schedule is None or not stage.phases:
        return DASH
    first = rate(lr_before(stage.schedule, stage.phases[0].clock_start))
    ends = list(dict.fromkeys(_last_rates([init.parent] if init.parent else [], stages)))
    return f"{', '.join(ends)} → {first}" if ends else f"begins at {first}"


def _last_rates(names: Sequence[str], stages: Mapping[str, Stage]) -> Iterator[str]:
    """The rates that these stages end with, or the nearest trained ones above those that have none."""
    for one in (stages[name] for name in names if name in stages):
        if one.schedule is not None and one.phases:
            yield rate(lr(one.schedule, one.phases[-1].clock_end))
        else:
            yield from _last_rates(one.parents, stages)


def budgets(views: Sequence[View]) -> Table:
    """The ledger: what each phase may consume, and what was consumed, counted by the run itself."""
    table = Table(("stage", "phase", "objective", "from", "to", "budget", "steps", "consumed", "padding", "corpora"),
                  right=(3, 4, 5, 6, 7, 8))  # fmt: skip
    for view in views:
        consumed = None if view.manifest is None else view.manifest.counters.get("consumed")
        for number, phase in enumerate(view.stage.phases):
            read = _read(view, number)
            padding = DASH if read is None or phase.unit != "tokens" else f"{1 - sum(read.values()) / phase.budget:.1%}"
            corpora = ", ".join(source.corpus for source in phase.sources)
            if read:
                corpora = ", ".join(f"{name} {count(size)}" for name, size in read.items())
            last = number + 1 == len(view.stage.phases)
            table.rows.append((view, [
                view.stage.name, phase.name, phase.objective, f"{phase.clock_start:,}",
                f"{phase.clock_end:,}", f"{phase.budget:,}", f"{ledger.count(phase):,}",
                f"{consumed:,}" if consumed is not None and last else DASH, padding, corpora,
            ]))  # fmt: skip
    return table


def _read(view: View, phase: int) -> Mapping[str, int] | None:
    read = None if view.run is None else view.run.read
    return read[phase] if read is not None and len(read) == len(view.stage.phases) else None


def costs(views: Sequence[View], plans: Mapping[str, StagePlan]) -> Table:
    """Time of all steps and peak memory of a rank, as planned and as measured."""
    table = Table(("stage", "time planned", "measured", "planned is", "memory planned", "measured", "planned is"),
                  right=(1, 2, 3, 4, 5, 6))  # fmt: skip
    for view in views:
        plan = plans.get(view.ref)
        if plan is None or not plan.phases:
            continue
        memory = max(phase.memory.total for phase in plan.phases) / 1e6
        spent = seconds_in_steps(view.timing)
        peak = None if view.run is None else view.run.peak_memory_mb
        table.rows.append((view, [
            view.stage.name, seconds(plan.seconds), seconds(spent) if spent else DASH, _off(plan.seconds, spent),
            f"{memory:,.0f} MB", f"{peak:,.0f} MB" if peak else DASH, _off(memory, peak),
        ]))  # fmt: skip
    return table


def _off(planned: float, measured: float | None) -> str:
    return f"{planned / measured - 1:+.0%}" if measured else DASH
