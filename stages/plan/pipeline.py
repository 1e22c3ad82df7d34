"""The plan of a pipeline: its stages, its totals, and the published totals next to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.contract import evaluations, memory
from stages.contract.duration import document_lengths
from stages.contract.hardware import Hardware
from stages.plan.stage import EvaluationPlan, PhasePlan, StagePlan, plan_stage
from stages.spec.project import Project
from stages.spec.resolved_pipeline import ResolvedPipeline


@dataclass(frozen=True)
class ClaimPlan:
    """A published total, and what the specs sum to (at the paper's scale both must agree to within `rounding`)."""

    what: str
    published: int
    planned: int
    rounding: int

    @property
    def met(self) -> bool:
        """Whether the plan rounds to the published figure."""
        return abs(self.planned - self.published) <= self.rounding


@dataclass(frozen=True)
class PipelinePlan:
    """A pipeline at a scale on a device."""

    name: str
    title: str
    scale: str
    hardware: Hardware
    stages: tuple[StagePlan, ...]
    claims: tuple[ClaimPlan, ...]  # at full size only

    def tokens(self, unit: str) -> int:
        """Ledger units that all stages consume together."""
        return sum(stage.consumed(unit) for stage in self.stages)

    @property
    def flops(self) -> float:
        """Operations of all stages."""
        return sum(stage.flops for stage in self.stages)

    @property
    def device_hours(self) -> float:
        """GPU-hours of all stages."""
        return sum(stage.device_hours for stage in self.stages)

    @property
    def evaluation_hours(self) -> float:
        """Hours of one device that the stages' evaluations take, on top of `device_hours`."""
        return sum(stage.evaluation.device_seconds for stage in self.stages if stage.evaluation is not None) / 3600

    @property
    def disk(self) -> int:
        """Bytes of all results, and the partial checkpoints of the one stage that keeps most."""
        return memory.disk_of_all((stage.checkpoint, stage.disk) for stage in self.stages)


def plan_pipeline(project: Project, name: str, scale: str, hardware: Hardware) -> PipelinePlan:
    """Plan the stages that have rules here; claims are compared where budgets are the published ones."""
    resolved, lengths = project.resolve(name, scale), document_lengths(project.data)
    full_size = project.shrink(name, scale).shrink is None
    stages = tuple(
        plan_stage(
            resolved.refs[one], resolved.stages[one], resolved.states[one], hardware, lengths, project.data,
            evaluations.read(resolved.stages[one], resolved.by_ref),
        )
        for one in resolved.own
    )  # fmt: skip
    return PipelinePlan(
        resolved.name, resolved.title, resolved.scale, hardware, stages, claims(resolved) if full_size else ()
    )


def claims(resolved: ResolvedPipeline) -> tuple[ClaimPlan, ...]:
    """The published totals compared with what the stages sum to: of use at full size only."""
    budgets = {name: stage.budget for name, stage in resolved.stages.items()}
    return tuple(
        ClaimPlan(claim.what, claim.tokens, sum(budgets[name] for name in claim.stages), claim.rounding)
        for claim in resolved.claims
    )


def as_json(plan: PipelinePlan) -> dict[str, Any]:
    """The plan as plain values; bytes, seconds and operations in full."""
    return {
        "pipeline": plan.name,
        "scale": plan.scale,
        "hardware": {
            "name": plan.hardware.name,
            "peak_flops": plan.hardware.peak,
            "mfu": plan.hardware.mfu,
            "sources": [{"covers": covers, "mark": mark, "why": why} for covers, mark, why in plan.hardware.sources],
        },
        "stages": [stage_as_json(stage) for stage in plan.stages],
        "totals": {
            "tokens": plan.tokens("tokens"),
            "patches": plan.tokens("patches"),
            "flops": plan.flops,
            "device_hours": plan.device_hours,
            "evaluation_device_hours": plan.evaluation_hours,
            "disk_bytes": plan.disk,
        },
        "claims": [
            {"what": one.what, "published": one.published, "planned": one.planned, "met": one.met}
            for one in plan.claims
        ],
    }


def stage_as_json(stage: StagePlan) -> dict[str, Any]:
    """One stage's plan as plain values."""
    return {
        "stage": stage.ref,
        "kind": stage.kind,
        "ranks": stage.ranks,
        "parameters": {"total": stage.total, "active": stage.active},
        "rope": stage.rope.model_dump() if stage.rope else None,
        "checkpoint_bytes": stage.checkpoint,
        "host_copy_bytes": stage.copied,
        "disk_bytes": stage.disk,
        "flops": stage.flops,
        "device_hours": stage.device_hours,
        "seconds": stage.seconds,
        "phases": [_phase(phase) for phase in stage.phases],
        **({} if stage.evaluation is None else {"evaluation": _evaluation(stage.evaluation)}),
    }


def _evaluation(plan: EvaluationPlan) -> dict[str, Any]:
    return {
        "flops": plan.flops,
        "device_hours": plan.device_seconds / 3600,
        "seconds": plan.seconds,
        **({} if plan.memory is None else {"memory_bytes": plan.memory.total}),
    }


def _phase(phase: PhasePlan) -> dict[str, Any]:
    return {
        "phase": phase.name,
        "objective": phase.objective,
        "unit": phase.unit,
        "budget": phase.budget,
        "steps": phase.steps,
        "batch": list(phase.batch),
        "context": phase.context,
        "padding": phase.padding,
        "lr": {"first": phase.lr_first, "last": phase.lr_last, "peak": phase.lr_peak},
        **({"numbers": {name: list(ends) for name, ends in phase.numbers.items()}} if phase.numbers else {}),
        "flops": phase.flops,
        "flops_per_unit": phase.flops / phase.budget,
        "device_hours": phase.device_seconds / 3600,
        "seconds": phase.seconds,
        "memory": {
            "layout": phase.memory.layout,
            "total_bytes": phase.memory.total,
            "states_bytes": phase.memory.states,
            "gradients_bytes": phase.memory.gradients,
            "activations_bytes": phase.memory.activations,
            "loss_bytes": phase.memory.loss,
            "spare_bytes": phase.memory.spare,
        },
    }
