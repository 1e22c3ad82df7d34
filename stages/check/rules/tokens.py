"""Counting tokens and steps, and published totals: I-07 to I-10, I-27."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import gcd

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import held_by_code, static
from stages.contract import ledger
from stages.contract.parameters import parameters
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


@static(
    "I-07",
    title="The ledger adds up to the budget",
    rule="Steps follow one another without gap, batches switch at the first step border at or past their threshold, "
    "the steps' tokens sum to the budget exactly, and every phase begins at the clock where the last one ended. At "
    "full size a budget is at least one whole step.",
    why="Tokens taken as iterations x batch are wrong as soon as the batch grows: decays end too early or never.",
    threads=("NVIDIA-NeMo/Megatron-Bridge#2609", "NVIDIA-NeMo/Megatron-Bridge#4796", "allenai/OLMo-core#335"),
    held_by=("stages/spec/phases.py", "tests/property/test_ledger.py"),
)
def ledger_meets_the_budget(context: Context) -> Iterator[Finding]:
    """I-07."""
    for name, stage in context.own:
        if stage.phases:
            yield from _clocks(context, name, stage)
    for name, _, number, phase in context.phases():
        ramp = [rung.after for rung in phase.batch]
        if not ramp or ramp[0] != 0 or sorted(set(ramp)) != ramp or ramp[-1] >= phase.budget:
            yield context.finding(
                "I-07", name, ("phases", number, "batch"),
                observed=f"batches that change after {ramp}",
                expected=f"rising thresholds from 0, below the budget of {phase.budget:,}",
                repair="Sort the ramp; take out what is never reached.",
            )  # fmt: skip
        elif (counted := _counted(phase)) != phase.budget:
            yield context.finding(
                "I-07", name, ("phases", number, "budget"),
                observed=f"steps that sum to {counted:,}", expected=f"the budget, {phase.budget:,}",
                repair="Correct the budget or the batch.",
            )  # fmt: skip
        elif _declared(context, phase) and phase.budget < (size := phase.batch[0].sequences * phase.context):
            yield context.finding(
                "I-07", name, ("phases", number, "budget"),
                observed=f"a budget of {phase.budget:,} {phase.unit}", expected=f"at least one step, {size:,}",
                repair="Correct the unit of the budget, or the batch.", found=Fraction(size, phase.budget),
            )  # fmt: skip


def _declared(context: Context, phase: Phase) -> bool:
    """Whether the budget is the number that the spec has: no scale shrank it, and it is not what a corpus comes to."""
    return context.shrink.shrink is None and phase.packing != "fixed"


def _clocks(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    at = stage.phases[0].clock_start
    for number, phase in enumerate(stage.phases):
        if phase.clock_start != at or phase.unit != stage.phases[0].unit:
            yield context.finding(
                "I-07", name, ("phases", number),
                observed=f"a phase that begins at {phase.clock_start:,} {phase.unit}",
                expected=f"{at:,} {stage.phases[0].unit}, where the one before ends",
                repair="Phases follow one another on one clock, which counts in one unit.",
            )  # fmt: skip
            return
        at += phase.budget


def _counted(phase: Phase) -> int:
    """Ledger units in all steps, from the closed form; -1 where a stretch does not follow the one before."""
    full, partial = ledger.stretches(phase)
    at = 0
    for stretch in full:
        if stretch.start != at:
            return -1
        at += stretch.steps * stretch.sequences * phase.context
    return at if partial is None else partial.end if partial.start == at else -1


def _divisible(context: Context) -> str:
    """A micro-batch that would do, and where it is written: a scale makes its own for all phases, and batches too."""
    if context.shrink.shrink is None:
        return "Choose a micro-batch that divides every batch of the ramp."
    phases = [phase for stage in context.pipeline.stages.values() for phase in stage.phases]
    most = {gcd(phase.micro_batch, *(rung.sequences for rung in phase.batch)) * phase.context for phase in phases}
    smaller = [tokens for tokens in most if tokens <= context.shrink.shrink.micro_batch and _divides(tokens, phases)]
    fits = max(smaller, default=min(phase.context for phase in phases))  # of a sequence each
    return (
        f"Write `micro_batch: {fits} tokens`, or a larger `batch`, in pipelines.{context.shrink.pipeline} of "
        f"specs/scales/{context.pipeline.scale}.yaml: both figures follow from there."
    )


def _divides(tokens: int, phases: Iterable[Phase]) -> bool:
    """Whether micro-batches of so many tokens, at least a sequence each, divide every batch."""
    return all(rung.sequences % max(1, tokens // phase.context) == 0 for phase in phases for rung in phase.batch)


@static(
    "I-08",
    title="Steps are counted once, by one rule",
    rule="A phase has ceil(budget / (batch x context)) steps, the last one partial, and a step is cut into whole "
    "logical micro-batches that neither machine nor layout can change.",
    why="Another micro-batch size, or an estimate of what packing yields, changes the number of steps and with it "
    "everything that was derived from it.",
    threads=(
        "huggingface/transformers#43718", "axolotl#3152", "axolotl#1697",
        "Megatron-DeepSpeed#99",
    ),
    held_by=("tests/unit/contract/test_ledger.py", "stages/guards/end.py"),
)  # fmt: skip
def steps_are_counted_once(context: Context) -> Iterator[Finding]:
    """I-08."""
    for name, _, number, phase in context.phases():
        for rung in phase.batch:
            if rung.sequences % phase.micro_batch:
                yield context.finding(
                    "I-08", name, ("phases", number, "micro_batch"),
                    observed=f"{rung.sequences} sequences a step in micro-batches of {phase.micro_batch}",
                    expected="whole micro-batches",
                    repair=_divisible(context),
                )  # fmt: skip
        if len(phase.batch) == 1:
            size = phase.batch[0].sequences * phase.context
            if ledger.count(phase) != -(-phase.budget // size):
                yield context.finding(
                    "I-08", name, ("phases", number, "budget"),
                    observed=f"{ledger.count(phase):,} steps", expected=f"{-(-phase.budget // size):,}",
                    repair="Report this: the ledger and its rule disagree.",
                )  # fmt: skip


held_by_code(
    "I-09",
    "test",
    title="Tokens are counted once, whatever the layout",
    rule="The tokens counted do not depend on the number of ranks or on how tensors, contexts or layers are split.",
    why="Counters that every rank increments count a token once per split: budgets end early.",
    threads=("InternLM/xtuner#1652", "mosaicml/streaming#619"),
    held_by=("stages/contract/ledger.py", "tests/property/test_ledger.py", "stages/guards/end.py"),
)
held_by_code(
    "I-10",
    "test",
    title="Gradient accumulation is exact",
    rule="The gradient of K micro-batches is the gradient of the one batch that they make, for ragged masks too.",
    why="Averaging the micro-batches' means weights a token by how few others share its micro-batch.",
    threads=(
        "huggingface/trl#2175", "transformers#34191", "torchtune#1875", "ms-swift#10084",
    ),
    held_by=("stages/train/reduce.py", "tests/property/test_accumulation.py"),
)  # fmt: skip


@static(
    "I-27",
    title="Published totals add up",
    rule="The budgets of the stages that a claim names sum to the published total, and a model has as many parameters "
    "as published, to within the rounding of the figure that is written. A scale that is given released weights "
    "leaves their models as they are.",
    why="A pipeline that does not add up to the paper's totals is another pipeline, and a model with another number of "
    "parameters is another model: released weights will not fit it.",
    threads=(),
)
def claims_add_up(context: Context) -> Iterator[Finding]:
    """I-27."""
    if context.shrink.shrink is not None:
        yield from _other_than_released(context)
        return  # totals are published for the full size
    for size in context.pipeline.sizes:
        count = parameters(size.model).total
        if abs(count - size.parameters) > size.rounding:
            yield context.of_pipeline(
                "I-27", f"parameters.{size.name}", found=(Fraction(size.parameters), Fraction(count)),
                observed=f"{size.name} has {count:,} parameters",
                expected=f"{size.parameters:,} to within {size.rounding:,}, as `parameters` says",
                repair=f"Correct a size of models.{size.name}, or the published count.",
                where=size.where,
            )  # fmt: skip
    for number, claim in enumerate(context.pipeline.claims):
        stages = [context.pipeline.stages[name] for name in claim.stages]
        total = sum(phase.budget for stage in stages for phase in stage.phases)
        if abs(total - claim.tokens) > claim.rounding:
            yield context.of_pipeline(
                "I-27", f"claims.{number}", found=(Fraction(claim.tokens), Fraction(total)),
                observed=f"{claim.what}: the stages sum to {total:,}",
                expected=f"{claim.tokens:,} to within {claim.rounding:,}",
                repair=f"Correct a budget of {', '.join(claim.stages)}, or the claim.",
                where=claim.where,
            )  # fmt: skip


def _other_than_released(context: Context) -> Iterator[Finding]:
    """A finding for each size that a scale changes of a model into which released weights are loaded."""
    for name, stage in context.own:
        for module, init in stage.init.items():
            if init.weights != "release":
                continue
            here = stage.modules[module].model_dump()
            full = context.full_model(name, module).model_dump()
            changed = [key for key in here if here[key] != full[key] and not key.startswith("init_")]
            if changed:
                yield context.finding(
                    "I-27", name, ("modules", module),
                    observed=f"{', '.join(f'{key} {here[key]}' for key in changed)}, with the released weights of "
                    f"{init.release}",
                    expected=", ".join(f"{key} {full[key]}" for key in changed),
                    repair="Leave the model as it is under the scale's `models` and `vocab`, or write "
                    "`releases: stand_in`.",
                    where=context.where_size(name, module, changed[0]),
                )  # fmt: skip
