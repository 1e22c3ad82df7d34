"""Jobs that no cluster starts, and large models in fp32 on GPUs: hours for minutes, more memory than any node has."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.notices.full_size import contexts
from stages.check.notices.rates import BILLION, size, written
from stages.contract import ledger, memory
from stages.contract.duration import document_lengths, step_seconds
from stages.contract.hardware import Hardware
from stages.errors import Where
from stages.spec.project import Project
from stages.spec.resolved_parallel import computes_in_bf16

LONGEST = 31 * 24 * 60  # minutes: partitions have limits of hours or days
LARGEST = 8_000_000  # MB: nodes of eight GPUs have 1 to 4 TB
OFTEN = 60  # seconds from one checkpoint to the next: recipes have minutes to hours
WRITTEN = 10**10  # bytes of a checkpoint: of models from a billion parameters on
SEVERAL = 10  # checkpoints of a phase: a trial of a few steps may have one at each


def unheard_of(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage at full size that asks for a job of more than a month, or a node of more than 8 TB."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            execution = stage.execution
            if execution.time_limit_min > LONGEST:
                where = context.where_execution(name, ("time_limit",))
                yield (
                    f"{where}: {name} has a time limit of {execution.time_limit_min / 60:,.0f} h a job; a killed job "
                    "goes on from its checkpoint, and partitions allow hours or days."
                )
            if execution.memory_mb > LARGEST:
                where = context.where_execution(name, ("memory",))
                asked = f"{execution.memory_mb / 10**6:,.0f} TB a node"
                yield f"{where}: {name} asks for {asked}; nodes of eight GPUs have 1 to 4 TB."


def often_written(project: Project, scale: str) -> Iterator[str]:
    """A notice for each line at full size by which large checkpoints follow one another within a minute, by plan."""
    for context in contexts(project, scale):
        found: dict[Where, tuple[float, str]] = {}
        for name, stage, _, phase in context.phases():
            size_of, every = memory.checkpoint(stage, context.pipeline.states[name]), stage.execution.checkpoint_every
            if context.hardware is None or size_of < WRITTEN or ledger.count(phase) < SEVERAL * every:
                continue
            seconds = every * step_seconds(stage, phase, context.hardware, document_lengths(context.data))
            if seconds < OFTEN:
                where = context.where_execution(name, ("checkpoint_every",))
                said = f"{name} writes a checkpoint of {size_of / 1e9:,.3g} GB after every {seconds:.2g} s of training"
                found[where] = min((seconds, said), found.get(where, (OFTEN, said)))
        for where, (_, said) in found.items():
            yield f"{where}: {said}, by plan; recipes have minutes to hours."


def in_fp32(project: Project, scale: str) -> Iterator[str]:
    """A notice at a scale on GPUs that trains a large language model in fp32, where their tensor cores do nothing."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            large = stage.kind == "train" and size(stage) >= BILLION and stage.execution.device == "cuda"
            if large and not computes_in_bf16(stage.engine_class):
                times = _times(context.hardware)
                yield (
                    f"{scale}: {stage.engine_class} trains the {written(size(stage))} parameters of {name} without "
                    f"tensor cores{times}; released models are trained in bf16."
                )
                return


def _times(hardware: Hardware | None) -> str:
    if hardware is None or hardware.peak_fp32 is None:
        return ", and the plan does not count that: its profile has no `peak_fp32`"
    return f", for {hardware.peak / hardware.peak_fp32:.0f} times as many hours on {hardware.name} as in bf16"
