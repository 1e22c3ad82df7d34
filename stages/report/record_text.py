"""A record (stages.report.record) as Markdown: the whole page for results/records, and a few lines for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from stages.printable import markdown_table
from stages.report.headlines import MEASURES, VALIDATION, Measure
from stages.report.number_format import count, length, seconds

Record = Mapping[str, Any]


def page(record: Record) -> str:
    """The whole record: circumstances, a table per pipeline, the gates, what got worse, and every evaluation."""
    parts = [f"# Measured: scale {record['scale']}", _circumstances(record)]
    for pipeline, stages in _pipelines(record).items():
        parts += [
            f"## {pipeline}",
            f"![learning rate]({record['scale']}_{pipeline}.png)",
            markdown_table(STAGE_COLUMNS, map(_stage_cells, stages.items())),
        ]
    parts += ["## Gates", _gates(record), "## What got worse", _worse(record)]
    parts += ["## Every evaluation", markdown_table(("stage", "evaluation", "before", "after"), _evaluations(record))]
    return "\n\n".join(parts) + "\n"


def short(record: Record) -> str:
    """The README's table: per pipeline what was run, how long it took, and the headline figure of its last stage."""
    rows = []
    for pipeline, stages in _pipelines(record).items():
        trained = [stage for stage in stages.values() if "seconds" in stage]
        spent = [sum(times) for times in zip(*(stage["seconds"] for stage in trained), strict=True)]
        gates = [gate for gate in record["gates"] if gate["stage"].startswith(f"{pipeline}/")]
        passed = sum(gate["passed"] for gate in gates)
        *_, last = ["-", *(text for name, stage in stages.items() for text in _headlines(name, stage))]
        steps = f"{sum(stage['steps'][0] for stage in trained):,}"
        rows.append((pipeline, str(len(stages)), steps, seconds(fmean(spent)), f"{passed} of {len(gates)}", last))
    columns = ("pipeline", "stages", "steps", "time in steps", "gates passed", "its last stage, held out (means)")
    seeds = ", ".join(map(str, record["seeds"]))
    where = f"Scale {record['scale']}, seeds {seeds}, {record['environment']['cpu_model']}, one thread a stage"
    whole = f"results/records/{record['scale']}.md"
    note = f"{where}, {record['date']}, commit {record['commit']}."
    rest = f"All figures and their ranges, also those that got worse: [{whole}]({whole})."
    return f"{markdown_table(columns, rows)}\n\n{note} {rest}"


def spread(values: Sequence[float], measure: Measure | None = None) -> str:
    """Mean, and lowest to highest where there are several: "2.310 (2.301 to 2.322)"."""
    show = measure.text if measure else lambda value: f"{value:.4g}"
    if len(values) == 1:
        return show(values[0])
    return f"{show(fmean(values))} ({show(min(values))} to {show(max(values))})"


STAGE_COLUMNS = ("stage", "budget", "steps", "context", "training loss", "validation loss", "time", "per second")


def _stage_cells(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, stage = item
    shown = f"{name}{' (stand-in)' if stage['stand_in'] else ''}"
    if "seconds" not in stage:
        return (shown, *("-",) * 4, _change(VALIDATION, stage) or "-", "-", "-")
    first, last = zip(*stage["train_loss"], strict=True)
    mean = fmean(stage["seconds"])
    return (
        shown,
        f"{count(stage['budget'])} {stage['unit']}",
        f"{stage['steps'][0]:,}",
        " → ".join(map(length, stage["contexts"])),
        f"{spread(first, VALIDATION)} → {spread(last, VALIDATION)}",
        _change(VALIDATION, stage) or "-",
        seconds(mean),
        count(stage["budget"] / mean) if mean else "-",
    )


def _circumstances(record: Record) -> str:
    machine = record["environment"]
    seeds = ", ".join(map(str, record["seeds"]))
    return (
        f"{record['date']}, commit {record['commit']}, seeds {seeds}. Environment {machine['id']}: "
        f"{machine['cpu_model']}, {machine['cpu_level']}, torch {machine['torch']}, Python {machine['python']}; "
        f"the runs' own environments: {', '.join(record['run_environments'])}.\n\n"
        "Figures are means over the seeds, with the lowest and the highest in brackets. Training loss is the mean over "
        "the first and over the last tenth of the steps. Time is the time in steps, without start-up, evaluation and "
        "saving. Stages marked stand-in descend from a fresh start where the published pipeline has released weights."
    )


def _pipelines(record: Record) -> dict[str, dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = {}
    for name, stage in record["stages"].items():
        pipeline, _, own = name.partition("/")
        grouped.setdefault(pipeline, {})[own] = stage
    return grouped


def _change(measure: Measure, stage: Mapping[str, Any]) -> str:
    """ "before → after" of a measure over the seeds, or "" where the stage does not have it."""
    if measure.name not in stage["after"]:
        return ""
    before = stage["before"].get(measure.name)
    return f"{spread(before, measure) if before else '-'} → {spread(stage['after'][measure.name], measure)}"


def _headlines(name: str, stage: Mapping[str, Any]) -> Iterator[str]:
    measure = next((measure for measure in MEASURES if measure.name in stage["after"]), None)
    if measure is not None:
        before = stage["before"].get(measure.name)
        first = measure.text(fmean(before)) if before else "-"
        yield f"{name}: {measure.label} {first} → {measure.text(fmean(stage['after'][measure.name]))}"


def _gates(record: Record) -> str:
    rows = [
        (gate["stage"], gate["gate"], str(gate["seed"]), "passed" if gate["passed"] else "**failed**", gate["found"])
        for gate in record["gates"]
    ]
    return markdown_table(("stage", "gate", "seed", "", "found"), rows)


def _worse(record: Record) -> str:
    """Evaluations whose mean moved the wrong way over a stage."""
    lines = [
        f"- {name}: {measure.label} {_change(measure, stage)}"
        for name, stage in record["stages"].items()
        for measure in (VALIDATION, *MEASURES)
        if measure.name in stage["before"] and measure.name in stage["after"] and _wrong_way(measure, stage)
    ]
    return "\n".join(lines) or "No evaluation of the table above moved the wrong way over its stage."


def _wrong_way(measure: Measure, stage: Mapping[str, Any]) -> bool:
    before, after = fmean(stage["before"][measure.name]), fmean(stage["after"][measure.name])
    return after > before if measure.better == "lower" else after < before


def _evaluations(record: Record) -> Iterator[tuple[str, ...]]:
    for name, stage in record["stages"].items():
        for evaluation, after in stage["after"].items():
            before = stage["before"].get(evaluation)
            yield name, evaluation, spread(before) if before else "-", spread(after)
