"""The plan of one stage: every figure a reviewer asks for, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stages.contract import evaluations, ledger, memory, numbers, schedule
from stages.contract.cost_phase import operations
from stages.contract.duration import device_seconds
from stages.contract.hardware import Hardware
from stages.contract.memory_states import Memory
from stages.contract.parameters import parameters
from stages.plan.padding import padding
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Optimizer

POINT = "point"  # of a trunk, whose cost it is
TWICE = 2  # before the stage and after it


@dataclass(frozen=True)
class PhasePlan:
    """A phase. LR is that of the first and of the last step, `lr_peak` the highest; times are of all ranks together."""

    name: str
    objective: str
    unit: str
    budget: int
    steps: int
    batch: tuple[int, int]  # sequences of the first and of the last full step
    context: int
    padding: float | None  # share of the budget that is no token; None: not measured
    lr_first: float
    lr_last: float
    lr_peak: float
    flops: float
    device_seconds: float
    seconds: float  # on the clock, with the stage's ranks
    memory: Memory
    numbers: Mapping[str, tuple[float, float]]  # others that a schedule gives, where the phase begins and ends


@dataclass(frozen=True)
class EvaluationPlan:
    """All evaluations of a stage: before and after one that trains together, which fit into the memory of its steps;
    of one without steps, after it, whole on one device.
    """

    flops: float
    device_seconds: float
    seconds: float
    memory: Memory | None = None  # of a stage without steps


@dataclass(frozen=True)
class StagePlan:
    """A stage; the sums of its phases, and what it has on disk."""

    ref: str
    kind: str
    ranks: int
    total: int  # parameters of all modules
    active: int  # that one token passes, without embeddings and heads
    sparse: bool  # whether some experts are idle
    rope: Rope | None
    checkpoint: int
    copied: int  # bytes of the host's memory that checkpoints are written from, with GPUs
    disk: int
    phases: tuple[PhasePlan, ...]
    evaluation: EvaluationPlan | None = None  # in no sum

    @property
    def flops(self) -> float:
        """Operations of all phases."""
        return sum(phase.flops for phase in self.phases)

    @property
    def device_hours(self) -> float:
        """Hours of one device: GPU-hours."""
        return sum(phase.device_seconds for phase in self.phases) / 3600

    @property
    def seconds(self) -> float:
        """Seconds on the clock."""
        return sum(phase.seconds for phase in self.phases)

    def consumed(self, unit: str) -> int:
        """Ledger units of one kind, over all phases; a point's are its trunk's."""
        return 0 if self.kind == POINT else sum(phase.budget for phase in self.phases if phase.unit == unit)


def plan_stage(
    ref: str,
    stage: Stage,
    state: Mapping[str, Optimizer],
    hardware: Hardware,
    lengths: Mapping[str, float],
    data: LoadedData | None = None,
    read: tuple[Phase, ...] = (),
) -> StagePlan:
    """Plan a stage on a device; `state` says of which modules its result has optimizer state, and what made it,
    `lengths` are mean tokens of a document, by corpus, where known, and `read` the phases that it is evaluated on.

    Without `data`, nothing is reported of padding and of evaluations.
    """
    counts = [parameters(model) for model in stage.modules.values()]
    return StagePlan(
        ref=ref,
        kind=stage.kind if stage.trunk is None else POINT,
        ranks=stage.execution.ranks,
        total=sum(count.total for count in counts),
        active=sum(count.active for count in counts),
        sparse=any(count.idle for count in counts),
        rope=stage.rope,
        checkpoint=memory.checkpoint(stage, state),
        copied=memory.copied(stage),
        disk=memory.disk(stage, state),
        phases=tuple(_plan_phase(stage, phase, hardware, lengths, data) for phase in stage.phases),
        evaluation=None if data is None else _evaluated(stage, hardware, lengths, data, read),
    )


def _evaluated(
    stage: Stage, hardware: Hardware, lengths: Mapping[str, float], data: LoadedData, read: tuple[Phase, ...]
) -> EvaluationPlan | None:
    if not evaluations.makes_any(stage, read):
        return None
    found = evaluations.once(stage, read, hardware, lengths, data)
    times = TWICE if stage.phases else 1
    flops, seconds = times * found.flops, times * found.seconds
    whole = memory.of_evaluation(stage, read, hardware)
    return EvaluationPlan(flops, seconds * stage.execution.ranks, seconds, whole)


def _plan_phase(
    stage: Stage, phase: Phase, hardware: Hardware, lengths: Mapping[str, float], data: LoadedData | None
) -> PhasePlan:
    flops, steps = operations(stage, phase, hardware.assumed(lengths)), ledger.count(phase)
    seconds = device_seconds(stage, phase, hardware, flops, lengths)
    if stage.trunk is not None:
        flops = seconds = 0.0
    first, last, peak = _rates(stage, phase)
    padded = padding(stage, phase, data) if data is not None else None
    return PhasePlan(
        name=phase.name,
        objective=phase.objective,
        unit=phase.unit,
        budget=phase.budget,
        steps=steps,
        batch=(phase.batch[0].sequences, phase.batch[-1].sequences),
        context=phase.context,
        padding=None if padded is None else float(padded),
        lr_first=first,
        lr_last=last,
        lr_peak=peak,
        flops=flops,
        device_seconds=seconds,
        seconds=seconds / stage.execution.ranks,
        memory=memory.of(stage, phase, hardware),
        numbers={name: (first, last) for name, first, last in numbers.over(stage, phase)},
    )


def _rates(stage: Stage, phase: Phase) -> tuple[float, float, float]:
    """LR of the first step, of the last, and the highest: pieces are monotonous, so it is at an end of one.

    After a jump that is the limit from the right.
    """
    if stage.schedule is None:
        raise ValueError(f"{stage.ref} has phases but no schedule")
    start, end = phase.clock_start, phase.clock_end
    first = schedule.lr(stage.schedule, start + ledger.step_at(phase, 0).end)
    last = schedule.lr(stage.schedule, end)
    inside = [piece.end for piece in stage.schedule.pieces if start < piece.end < end]
    ends = [rate(stage.schedule, clock) for clock in inside for rate in (schedule.lr, schedule.lr_before)]
    return first, last, max(first, last, *ends, 0.0)
