"""Whether the NeMo engine can divide a stage as its layout says: I-46, I-47. check.rules.execution prices the rest."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.contract import layouts
from stages.contract.layouts import Misfit


@static(
    "I-46",
    title="A layout divides the model and its rows",
    rule="Of a stage of the NeMo engine, tensor parallel ranks have whole heads and equal parts of hidden sizes and "
    "vocabulary, pipeline ranks equally many layers, expert parallel ranks equally many experts, context parallel "
    "ranks two equal chunks of each row, replicas equally many micro-batches of each step; and ranks are a multiple "
    "of tp * pp * cp. An interleaved pipeline takes as many micro-batches of a replica as it has ranks, or twice as "
    "many, and so on.",
    why="A framework that rounds, pads or drops what does not divide trains another model, or fails after the queue on "
    "all nodes at once.",
    threads=(),
    held_by=("stages/contract/layouts.py", "stages/spec/execution.py"),
)
def layout_divides(context: Context) -> Iterator[Finding]:
    """I-46."""
    for name, stage in context.own:
        for misfit in (*layouts.undivided(stage), *layouts.filled_up(stage)):
            yield _finding(context, "I-46", name, misfit)


@static(
    "I-47",
    title="The parts of a layout go together",
    rule="sequence_parallel goes with several tensor parallel ranks, and these with it where experts are routed; vpp "
    "with several pipeline ranks; ep with routed experts; and tensor parallel ranks are on one node.",
    why="A part that does nothing reads as if it did; tensor parallelism over the links between nodes waits for every "
    "layer.",
    threads=(),
    held_by=("stages/contract/layouts.py",),
)
def layout_goes_together(context: Context) -> Iterator[Finding]:
    """I-47."""
    for name, stage in context.own:
        for misfit in layouts.contradictions(stage):
            yield _finding(context, "I-47", name, misfit)


def _finding(context: Context, id: str, name: str, misfit: Misfit) -> Finding:
    key = ("ranks",) if misfit.part == "dp" else ("parallel", misfit.part)
    observed = misfit.observed if misfit.part == "dp" else f"{misfit.part} {misfit.observed}"
    return context.of_execution(id, name, *key, observed=observed, expected=misfit.expected, repair=misfit.repair)
