"""Whether a stage runs as its execution says: memory, ranks, time, and what the engine does: I-42 to I-45."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import chain

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.contract import evaluations, layouts, ledger, memory
from stages.contract.duration import document_lengths, step_seconds
from stages.contract.engines import undivided
from stages.contract.hardware import MEGA, Hardware
from stages.contract.parameters import total
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.resolved_parallel import Parallel

LEAST_PART = 512  # positions of a GPU: with fewer, it sends the keys of more than it computes
LONG = 3600.0  # seconds of all ranks together that nobody wants to lose: a stage of that length has a checkpoint inside


@static(
    "I-42",
    title="A stage fits its machine",
    rule="On the device that its scale is priced on, a stage's states and activations fit the memory, and so do the "
    "evaluations of one without steps, whole on one device; a node has no more ranks than devices, and memory for the "
    "ranks on a CPU, or beside GPUs for a copy of the weights in fp32 or of a checkpoint. A pipeline's results and the "
    "checkpoints of one stage fit the disk.",
    why="What does not fit is found out after the queue, on every node at once.",
    threads=(),
    held_by=("stages/contract/memory.py",),
)
def stage_fits(context: Context) -> Iterator[Finding]:
    """I-42. A project without a profile of the scale's device is not priced."""
    hardware = context.hardware
    if hardware is None:
        return
    yield from _disk(context, hardware)
    for name, stage in context.own:
        if stage.kind == "keep":
            continue
        worst = max((memory.of(stage, phase, hardware).total for phase in stage.phases), default=0)
        evaluated = memory.of_evaluation(stage, evaluations.read(stage, context.by_ref), hardware)
        if evaluated is not None and evaluated.total > hardware.memory:
            yield context.finding(
                "I-42", name, ("evaluate",), observed=f"{_gb(evaluated.total)} for evaluations, whole on one device",
                expected=f"at most the {_gb(hardware.memory)} of {hardware.name}",
                repair="Name them in the stage above that trains, whose ranks divide the model on the NeMo engine; "
                "`stages evaluate` has those ranks evaluate this one.",
            )  # fmt: skip
        if worst > hardware.memory:
            yield context.of_execution(
                "I-42", name, "ranks", observed=f"{_gb(worst)} a device, with ranks: {stage.execution.ranks}",
                expected=f"at most the {_gb(hardware.memory)} of {hardware.name}",
                repair="Spread the stage over more ranks, or lower `micro_batch` (`stages plan` shows the parts).",
            )  # fmt: skip
        per_node = stage.execution.ranks // stage.execution.nodes
        if hardware.per_node is not None and per_node > hardware.per_node:
            yield context.of_execution(
                "I-42", name, "nodes", observed=f"{per_node} ranks on a node",
                expected=f"at most {hardware.per_node}, the devices of a node of {hardware.name}",
                repair="Take more nodes, or fewer ranks.",
            )  # fmt: skip
        need = _host(stage, hardware, max(worst, 0 if evaluated is None else evaluated.total))
        if need > stage.execution.memory_mb * MEGA:
            yield context.of_execution(
                "I-42", name, "memory", observed=f"{stage.execution.memory_mb:,} MB a node",
                expected=f"at least {_gb(need)}", repair="Raise `memory`: is its unit right?",
            )  # fmt: skip


def _disk(context: Context, hardware: Hardware) -> Iterator[Finding]:
    """What all stages of the pipeline leave, on the file system of results/."""
    states = context.pipeline.states
    sizes = ((memory.checkpoint(one, states[name]), memory.disk(one, states[name])) for name, one in context.own)
    need = memory.disk_of_all(sizes)
    if need > hardware.disk:
        yield context.of_pipeline(
            "I-42", "stages", observed=f"{_gb(need)} of results and checkpoints",
            expected=f"at most the {_gb(hardware.disk)} of disk of {hardware.name}", found=Fraction(need),
            repair=f"Correct `disk` of specs/hardware/{hardware.name}.yaml, or lower `keep_partials`.",
            where=context.pipeline.listing.where(("stages",)),
        )  # fmt: skip


def _host(stage: Stage, hardware: Hardware, worst: int) -> int:
    """Bytes that a node needs at least: on a CPU its ranks. With GPUs the weights, which the first rank has on the host
    while they are read or gathered; then the copy that checkpoints are written from.
    """
    if hardware.device == "cpu":
        return worst * (stage.execution.ranks // stage.execution.nodes)
    weights = memory.FP32 * total(stage.modules.values())
    return max(weights, memory.copied(stage))


def _gb(size: int) -> str:
    return f"{_short(size / 1e9)} GB"


def _short(value: float) -> str:
    """Three digits, or all those before the point: 0.0123, 45.6, 50,200."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@static(
    "I-43",
    title="Every rank has work",
    rule="A step has at least one logical micro-batch for every rank (of the NeMo engine: every replica); but for GPUs "
    "that share its sequences, because there are fewer of these than of them, in stages that are planned only, with "
    "512 positions or more for each.",
    why="Ranks without a micro-batch wait for the others at every step, and are paid for.",
    threads=(),
)
def every_rank_has_work(context: Context) -> Iterator[Finding]:
    """I-43."""
    for name, stage, number, phase in context.phases():
        ranks, torch = stage.execution.dp, stage.execution.engine == "torch"
        sequences = min(rung.sequences for rung in phase.batch)
        parts = -(-sequences // phase.micro_batch)
        shared = torch and stage.execution.device == "cuda" and sequences < ranks and not stage.prepared
        shared = shared and sequences * phase.context >= ranks * LEAST_PART
        if parts >= ranks or shared:
            continue
        of = "ranks" if torch else "replicas"
        observed = f"{sequences} sequences a step in micro-batches of {phase.micro_batch}, for {ranks} {of}"
        yield context.finding(
            "I-43", name, ("phases", number, "micro_batch"), observed=observed,
            expected=f"at least {ranks} micro-batches", repair="Lower `micro_batch` or the number of ranks.",
        )  # fmt: skip


@static(
    "I-44",
    title="A stage comes to its next checkpoint",
    rule="By plan, a job's time limit is longer than the way from one checkpoint to the next, and than its evaluations "
    "before or after it; a stage of an hour or more has a checkpoint before its end.",
    why="A job that is stopped before its first checkpoint, or while it evaluates, starts from where it started, every "
    "time.",
    threads=(),
)
def checkpoints_come_in_time(context: Context) -> Iterator[Finding]:
    """I-44. A project without a profile of the scale's device is not priced."""
    if context.hardware is None:
        return
    lengths = document_lengths(context.data)
    for name, stage in context.own:
        steps = [ledger.count(phase) for phase in stage.phases]
        paces = [step_seconds(stage, phase, context.hardware, lengths) for phase in stage.phases]
        every, limit = stage.execution.checkpoint_every, stage.execution.time_limit_min
        longest = max((pace * min(every, count) for pace, count in zip(paces, steps, strict=True)), default=0.0)
        if longest > 60 * limit:
            yield context.of_execution(
                "I-44", name, "time_limit", observed=f"{limit:,} min",
                expected=f"more than the {_short(longest / 60)} min to the next checkpoint, by plan",
                repair="Raise `time_limit`, or lower `checkpoint_every`.",
            )  # fmt: skip
        evaluated = _evaluated(context, stage, context.hardware, lengths)
        if evaluated > 60 * limit:
            yield context.of_execution(
                "I-44", name, "time_limit", observed=f"{limit:,} min",
                expected=f"more than the {_short(evaluated / 60)} min that its evaluations take, by plan",
                repair="Raise `time_limit`, or name fewer evaluations.",
            )  # fmt: skip
        total = sum(pace * count for pace, count in zip(paces, steps, strict=True))
        if every >= sum(steps) and total >= LONG:
            yield context.of_execution(
                "I-44", name, "checkpoint_every", observed=f"every {every:,} steps, in a stage of {sum(steps):,}",
                expected=f"a checkpoint within its {_short(total / 3600)} hours", repair="Lower `checkpoint_every`.",
            )  # fmt: skip


def _evaluated(context: Context, stage: Stage, hardware: Hardware, lengths: Mapping[str, float]) -> float:
    """Seconds of one evaluation of a stage, before or after it; 0 where it has none."""
    read = evaluations.read(stage, context.by_ref)
    if not evaluations.makes_any(stage, read):
        return 0.0
    return evaluations.once(stage, read, hardware, lengths, context.data).seconds


@static(
    "I-45",
    title="The engine runs what the scale asks for",
    rule="Where a stage of the torch engine trains on local corpora, the whole model with its gradients fits each of "
    "several GPUs, by plan: that engine divides the optimizer's state alone. The NeMo engine divides neither a looped "
    "model's layers over pipeline ranks nor Muon's state over replicas, and trains no family that it has "
    "no code for, nor a routed model without shared experts or without a routed layer; it has no YaRN, and evaluates "
    "none before training where it multiplies; it has no z-loss and no groups of an optimizer, skips no step, keeps "
    "no average of weights and starts from none, and reads no schedule but the learning rate's.",
    why="A plan may divide more than the engine does; the job fails after the queue.",
    threads=(),
    held_by=("stages/contract/engines.py", "stages/check/gate.py"),
)
def engine_runs_it(context: Context) -> Iterator[Finding]:
    """I-45. What reads published corpora is not run here anyway: `stages check` says so in a notice."""
    hardware = context.hardware
    for name, stage in context.own:
        models = {module for module, model in stage.modules.items() if model.family in LANGUAGE_MODELS}
        from_ = {init.parent for module, init in stage.init.items() if module in models}
        above = (layouts.unturned(stage, parent) for ref, parent in context.parents(stage) if ref in from_)
        for misfit in (*layouts.unsupported(stage), *chain.from_iterable(above)):
            part = [misfit.part] if misfit.part in Parallel.model_fields else []
            yield context.of_execution(
                "I-45", name, "parallel", *part, observed=f"{misfit.part} {misfit.observed}",
                expected=misfit.expected, repair=misfit.repair,
            )  # fmt: skip
        if stage.prepared and hardware is not None and undivided(stage, hardware) is not None:
            yield context.of_execution(
                "I-45", name, "ranks",
                observed=f"weights and gradients to be divided over {stage.execution.ranks} ranks",
                expected=f"what fits whole on each {hardware.name}, by plan",
                repair="Lower `micro_batch`, recompute activations, or take a smaller model.",
            )  # fmt: skip
