"""`stages batch P/S --step N`: the rows and documents that a step reads, whether it has been run or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.commands.find_project import open_project, stage_of
from stages.contract import ledger
from stages.data.loading.trace import Row
from stages.data.spec import preparing
from stages.errors import UsageError
from stages.forensics.batch import Batch, batch
from stages.printable import print_json
from stages.report.number_format import rate
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.layout import Layout

UNKNOWN = "not prepared, documents and epochs not known"


def print_batch(ref: str, number: int, scale: str, text: bool, as_json: bool) -> None:
    """Print a step's rows. Raises UsageError where the stage has no such step, or trains nothing."""
    root, project = open_project(scale)
    stage, layout = stage_of(project, ref, scale), Layout(root, scale)
    found = batch(stage, known_step(stage, number), layout.data)
    if text and found.absent:
        raise UsageError(f"--text: found {found.absent[0]} not prepared. {_prepare(project, found, layout.data)}")
    if as_json:
        print_json(fields_of(found))
        return
    for line in (*_head(found), *sources_of(found), *([] if text else rows_of(found))):
        print(line)
    if found.absent:
        print(f"All of this follows from the specs. {_prepare(project, found, layout.data)}")
    if text:
        from stages.commands.batch_text import print_text

        print_text(found, layout)


def known_step(stage: Stage, number: int) -> int:
    """The number, if the stage has such a step. Raises UsageError."""
    ref, steps = stage.ref, sum(map(ledger.count, stage.phases))
    if not stage.phases:
        raise UsageError(f"{ref}: kind {stage.kind}, trains nothing and reads no corpus; allowed: a stage with phases.")
    if not 1 <= number <= steps:
        raise UsageError(f"{ref}: found step {number:,}; allowed: 1 to {steps:,}.")
    return number


def _prepare(project: Project, found: Batch, data_root: Path) -> str:
    """What to do to know the documents too."""
    local = project.data.corpora
    ours = [f"run `{preparing(data_root / name)}`" for name in found.absent if name in local]
    theirs = ", ".join(name for name in found.absent if name not in local)
    bound = [f"bind {theirs} in specs/data/bind.yaml, and prepare what they are bound to"] if theirs else []
    return f"To know documents and epochs: {'; '.join([*ours, *bound])}."


def _head(found: Batch) -> Iterator[str]:
    phase, step = found.phase, found.step
    yield (
        f"{found.stage.ref} at scale {found.stage.scale}, step {found.number:,} of "
        f"{found.steps:,}: phase {phase.name}, {phase.unit} {step.start:,} to {step.end:,} of {phase.budget:,}"
    )
    cut = f", the last one cut to {step.tail:,}" if step.tail else ""
    lr = "" if found.lr is None else f", LR {rate(found.lr)}"
    yield f"  clock {found.clock:,}{lr}, {step.sequences:,} rows of {phase.context:,} {phase.unit}{cut}"


def sources_of(found: Batch) -> Iterator[str]:
    """A line for each corpus of a step."""
    for number, source in enumerate(found.phase.sources):
        rows = [row for row in found.rows if row.source == number]
        if rows:
            paired = found.phase.objective == "coca"  # its numbers are of pairs
            ordinals = [row.ordinal + 1 for row in rows if row.ordinal is not None and not paired]
            which = f", {_range(min(ordinals), max(ordinals))} of the phase" if ordinals else ""
            unknown = f"; {UNKNOWN}" if source.corpus in found.absent else ""
            yield f"  {source.corpus}: {len(rows):,} {'row' if len(rows) == 1 else 'rows'}{which}{unknown}"


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def rows_of(found: Batch) -> Iterator[str]:
    """A line for each row whose documents are known."""
    for number, row in enumerate(found.rows, 1):
        if row.spans is None:
            continue
        where = "padding" if row.source is None else found.phase.sources[row.source].corpus
        epoch = "" if row.epoch is None or found.phase.epochs == 1 else f", epoch {row.epoch + 1}"
        spans = ", ".join(_span(found, *span) for span in row.spans)
        yield f"  row {number:>4}  {where}{epoch}: {spans}"


def _span(found: Batch, _: str, document: int, start: int, end: int) -> str:
    return f"{document + 1}" if found.phase.objective == "coca" else f"{document + 1} [{start}, {end})"


def fields_of(found: Batch) -> dict[str, Any]:
    """All figures of a step, for JSON."""
    return {
        "stage": found.stage.ref,
        "scale": found.stage.scale,
        "step": found.number,
        "steps": found.steps,
        "phase": found.phase.name,
        "unit": found.phase.unit,
        "start": found.step.start,
        "end": found.step.end,
        "clock": found.clock,
        "lr": found.lr,
        "context": found.phase.context,
        "tail": found.step.tail,
        "not_prepared": list(found.absent),
        "rows": [_row(found, number, row) for number, row in enumerate(found.rows, 1)],
    }


def _row(found: Batch, number: int, row: Row) -> dict[str, Any]:
    spans = None if row.spans is None else [{"document": d + 1, "start": a, "end": b} for _, d, a, b in row.spans]
    return {
        "row": number,
        "sample": row.sample,
        "corpus": None if row.source is None else found.phase.sources[row.source].corpus,
        "number": None if row.ordinal is None else row.ordinal + 1,
        "epoch": None if row.epoch is None else row.epoch + 1,
        "spans": spans,
    }
