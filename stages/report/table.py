"""The closing table: what every stage of a scale consumed, what it cost, and what it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Group
from rich.text import Text

from stages import terminal
from stages.report.headlines import VALIDATION, arrow, headline, loops
from stages.report.metrics import StageResult, first_and_last_loss, seconds_in_steps
from stages.report.number_format import UNITS, count, length, lengths, loss, seconds
from stages.spec.resolved import Stage

COLUMNS = ("stage", "tokens", "steps", "context", "train loss", "validation loss", "evaluation", "time", "per s", "key")
RIGHT = (1, 2, 7, 8)
BY_WEIGHT = (5, 6, 1, 7, 2, 4, 9, 3, 8)  # which columns a narrow terminal shows next to the first, as far as they fit
GAP = 2  # blanks between columns, as `terminal.table` has them
# Of a result in place, compared with what the specs say now.
Mark = Literal["current", "to be evaluated", "stale", "damaged", "unreadable", "not in the specs"]
SHOWN = 0.005  # of a budget: less padding is not worth a word
KEY_SHOWN = 8  # hex digits of a key that tell stages apart for a reader


@dataclass(frozen=True)
class Row:
    """One line of the table; `cells` are texts in the order of `COLUMNS`, the numbers are for the totals."""

    cells: tuple[str, ...]
    tokens: int
    steps: int
    seconds: float
    tier: str
    unit: str = "tokens"


def row(result: StageResult, mark: Mark = "current") -> Row:
    """The line of one finished stage; stages that do not train show dashes. A mark other than current is shown."""
    stage = result.stage
    if result.metrics is None:
        measured, key = (validation(result), stage.kind), result.manifest.key[:KEY_SHOWN]
        idle = (_name(stage, mark), *("-",) * 4, *measured, *("-",) * 2, key)
        return Row(idle, 0, 0, 0.0, result.manifest.tier)
    spent = seconds_in_steps(result.timing)
    first, last = first_and_last_loss(result.metrics)
    cells = (
        _name(stage, mark),
        f"{count(stage.budget)}{' patches' if stage.phases[0].unit == 'patches' else ''}{_padded(result)}",
        f"{len(result.metrics):,}",
        _contexts(stage),
        f"{loss(first)} → {loss(last)}",
        validation(result),
        evaluation(result),
        seconds(spent),
        count(stage.budget / spent) if spent else "-",
        result.manifest.key[:KEY_SHOWN],
    )
    if stage.trunk is not None:  # its steps are the trunk's, and counted there
        return Row(cells, 0, 0, 0.0, result.manifest.tier)
    unit = stage.phases[0].unit
    return Row(cells, stage.budget, len(result.metrics), spent, result.manifest.tier, unit)


def as_json(result: StageResult, marks: Mapping[str, Mark]) -> dict[str, Any]:
    """The same as plain values; losses are means over the first and the last tenth of the steps."""
    metrics = result.metrics
    return {
        "stage": result.stage.ref,
        "state": _marked(result.stage, marks),
        "key": result.manifest.key,
        "tier": result.manifest.tier,
        "stand_in": result.stage.stand_in,
        "budget": 0 if metrics is None else result.stage.budget,
        "unit": None if metrics is None else result.stage.phases[0].unit,
        "steps": 0 if metrics is None else len(metrics),
        "train_loss": None if metrics is None else list(first_and_last_loss(metrics)),
        "seconds_in_steps": seconds_in_steps(result.timing),
        "before": dict(result.before),
        "after": dict(result.after),
    }


def padding(result: StageResult) -> float | None:
    """The share of a stage's tokens that were padding, by what its phases read; None where a run does not say it."""
    read, phases = result.run.read, result.stage.phases
    if read is None or len(read) != len(phases) or any(phase.unit != "tokens" for phase in phases):
        return None
    return 1 - sum(count for phase in read for count in phase.values()) / result.stage.budget


def _padded(result: StageResult) -> str:
    share = padding(result)
    return f", {share:.0%} padding" if share is not None and share >= SHOWN else ""


def _contexts(stage: Stage) -> str:
    """The phases' contexts, and what rows are evaluated where those are shorter than any of them."""
    longest, evaluated = stage.longest, stage.evaluation.context
    short = f", evaluated {length(evaluated)}" if stage.evaluation.names and evaluated < longest else ""
    return " → ".join(lengths(stage)) + short


def evaluation(result: StageResult) -> str:
    """The stage's most telling evaluation in words, or a dash."""
    measure = headline(result.after)
    if measure is None:
        return loops(result.after) or "-"
    return f"{measure.label} {arrow(measure, result.before, result.after)}"


def validation(result: StageResult) -> str:
    """Validation loss before and after the stage, or a dash where it was not evaluated."""
    return arrow(VALIDATION, result.before, result.after) if VALIDATION.name in result.after else "-"


def by_pipeline(results: Iterable[StageResult], marks: Mapping[str, Mark] | None = None) -> dict[str, list[Row]]:
    """Lines of the table by pipeline, in the order given.

    `marks` are by pipeline/stage; a result that has none is not in the specs.
    """
    grouped: dict[str, list[Row]] = {}
    for result in results:
        mark: Mark = "current" if marks is None else _marked(result.stage, marks)
        grouped.setdefault(result.stage.pipeline, []).append(row(result, mark))
    return grouped


def totals(rows: Sequence[Row]) -> str:
    """One sentence on a pipeline: stages, steps, ledger units, seconds of training, tier of guarantee."""
    tiers = " and ".join(sorted({row.tier for row in rows}))
    spent = sum(row.seconds for row in rows)
    consumed = Counter[str]()
    for one in rows:
        consumed[one.unit] += one.tokens
    read = " and ".join(f"{count(total)} {UNITS[unit]}" for unit, total in consumed.items() if total) or "0 tokens"
    return (
        f"{len(rows)} stage{'s' * (len(rows) != 1)}, {sum(row.steps for row in rows):,} steps, "
        f"{read}, {seconds(spent)} in steps; tier: {tiers}"
    )


def rich_tables(scale: str, grouped: Mapping[str, Sequence[Row]], width: int) -> list[Group]:
    """One table per pipeline for a terminal of so many columns, the totals below it.

    Where the width is not enough, whole columns are left out and named, and no cell is folded.
    """
    return [_fitting(f"{pipeline} at {scale}", rows, width) for pipeline, rows in grouped.items()]


def _fitting(title: str, rows: Sequence[Row], width: int) -> Group:
    shown = [0]
    for number in BY_WEIGHT:
        if _needed(rows, [*shown, number]) <= width:
            shown.append(number)
    table = terminal.table(title)
    for number in sorted(shown):
        table.add_column(COLUMNS[number], justify="right" if number in RIGHT else "left", overflow="fold")
    for line in rows:
        table.add_row(*(line.cells[number] for number in sorted(shown)))
    left_out = ", ".join(name for number, name in enumerate(COLUMNS) if number not in shown)
    return Group(table, Text(totals(rows)), *([Text(f"columns left out: {left_out}", "dim")] if left_out else []))


def _needed(rows: Sequence[Row], shown: Sequence[int]) -> int:
    """The width of a table of these columns in which nothing is folded."""
    return sum(GAP + max(len(COLUMNS[one]), *(len(row.cells[one]) for row in rows)) for one in shown)


def _marked(stage: Stage, marks: Mapping[str, Mark]) -> Mark:
    return marks.get(stage.ref, "not in the specs")


def _name(stage: Stage, mark: Mark) -> str:
    marks = ["stand-in"] if stage.stand_in else []
    marks += [mark] if mark != "current" else []
    return f"{stage.name} ({', '.join(marks)})" if marks else stage.name
