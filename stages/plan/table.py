"""Plans as tables of at most 120 columns: a row a phase, totals and published totals below."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import assert_never

from rich import box
from rich.table import Table

from stages.contract.hardware import Hardware
from stages.contract.memory_states import Memory
from stages.plan import figures
from stages.plan.pipeline import PipelinePlan
from stages.plan.stage import PhasePlan, StagePlan
from stages.spec.units import format_tokens

WIDTH = 120
COLUMNS = ("stage", "tokens", "steps", "seq/step", "ctx", "LR", "RoPE", "params", "FLOP", "time", "GB", "ckpt")
LEFT = ("stage", "LR", "RoPE")
LAYOUTS = {"one": "", "zero1": " z1", "fsdp": " fsdp"}  # others are the NeMo engine's, by their own letters


def table(plan: PipelinePlan) -> Table:
    """One pipeline; stages without phases have their size and checkpoint only."""
    shown = Table(
        title=f"{plan.name} at {plan.scale}: {plan.title}", title_justify="left", box=box.SIMPLE_HEAD, padding=0
    )
    clock, per = _clock(plan.hardware)
    for name in COLUMNS:
        title = clock if name == "time" else name
        shown.add_column(title, justify="left" if name in LEFT else "right", no_wrap=True)
    for stage in plan.stages:
        for row in _rows(stage, per):
            shown.add_row(*row)
    return shown


def _clock(hardware: Hardware) -> tuple[str, float]:
    """What the column of times is called, and the seconds of its unit."""
    match hardware.device:
        case "cuda":
            return "GPU-h", 3600
        case "cpu":
            return "CPU-s", 1
        case _:
            assert_never(hardware.device)


def _rows(stage: StagePlan, per: float) -> Iterator[tuple[str, ...]]:
    name = stage.ref.partition("/")[2]
    size = figures.count(stage.total)
    if stage.sparse:
        size = f"{figures.count(stage.total, 3)}/{figures.count(stage.active, 3)}"
    kept = figures.short(stage.checkpoint) if stage.disk else ""
    if not stage.phases:
        yield (name, stage.kind, "", "", "", "", figures.rope(stage.rope), size, "", "", "", kept)
    for number, phase in enumerate(stage.phases):
        own = (figures.rope(stage.rope), size, kept) if number == 0 else ("", "", "")
        shown = name if number == 0 else ""
        if len(stage.phases) > 1:
            shown = f"{shown} {phase.name}" if number == 0 else f"{' ' * len(name)} {phase.name}"
        yield _row(shown, phase, per, *own)


def _row(name: str, phase: PhasePlan, per: float, rope: str, size: str, kept: str) -> tuple[str, ...]:
    first, last = phase.batch
    return (
        name,
        figures.tokens(phase.budget) + ("p" if phase.unit == "patches" else ""),
        str(phase.steps),
        f"{first}→{last}" if first != last else str(first),
        format_tokens(phase.context),
        curve(phase),
        rope,
        size,
        figures.short(phase.flops),
        figures.short(phase.device_seconds / per),
        gigabytes(phase.memory) + _layout(phase.memory.layout),
        kept,
    )


def _layout(name: str) -> str:
    return LAYOUTS.get(name, f" {name}".rstrip())


def gigabytes(memory: Memory) -> str:
    """Memory of one device in GB."""
    size = memory.total / 1e9
    return f"{size:.0f}" if size >= 10 else f"{size:.2g}"


def curve(phase: PhasePlan) -> str:
    """LR of the first step, the peak where it lies between, LR of the last step."""
    ends = [phase.lr_first, phase.lr_last]
    points = [ends[0], phase.lr_peak, ends[1]] if phase.lr_peak > max(ends) * (1 + 1e-9) else ends
    texts = [figures.rate(point) for point in points]
    return "→".join(dict.fromkeys(texts))


def totals(plan: PipelinePlan) -> list[str]:
    """What the pipeline comes to, what does not fit, and each published total next to the planned one."""
    device = plan.hardware.hours
    used = [f"{figures.tokens(plan.tokens('tokens'))} tokens"]
    if patches := plan.tokens("patches"):
        used.append(f"{figures.tokens(patches)} patches")
    hours = plan.device_hours
    lines = [
        f"total: {', '.join(used)}, {figures.short(plan.flops)}FLOP, {hours:,.3g} {device}"
        if hours < 1000
        else f"total: {', '.join(used)}, {figures.short(plan.flops)}FLOP, {hours:,.0f} {device}",
        f"disk:  {figures.short(plan.disk)}B"
        + (" (more than the profile has)" if plan.disk > plan.hardware.disk else ""),
    ]
    lines += _evaluations(plan)
    needs = [(f"{stage.ref} {phase.name}", phase.memory) for stage in plan.stages for phase in stage.phases]
    needs += [
        (f"evaluations of {stage.ref}, whole on one device", stage.evaluation.memory)
        for stage in plan.stages
        if stage.evaluation is not None and stage.evaluation.memory is not None
    ]
    tight = [
        f"{what}: {gigabytes(memory)} GB a device, which has {plan.hardware.memory / 1e9:g}"
        for what, memory in needs
        if memory.total > plan.hardware.memory
    ]
    lines += _padding(plan)
    lines += _pairs(plan)
    lines += _numbers(plan)
    lines += [f"does not fit: {one}" for one in tight]
    lines += [
        f"{'meets' if claim.met else 'MISSES'} the published {figures.tokens(claim.published)}: "
        f"{figures.tokens(claim.planned)} ({claim.what})"
        for claim in plan.claims
    ]
    return lines


def _evaluations(plan: PipelinePlan) -> list[str]:
    """What is computed before and after stages, which is no training: in all, and where it is most."""
    found = [(stage, stage.evaluation) for stage in plan.stages if stage.evaluation is not None]
    if not plan.evaluation_hours:
        return []
    most, longest = max(found, key=lambda one: one[1].device_seconds)
    where = f", most of them {most.ref.partition('/')[2]}" if len(found) > 1 else ""
    hours = f"{plan.evaluation_hours:.3g} {plan.hardware.hours}{where} ({longest.seconds / 60:.2g} min)"
    return [f"evaluations before and after stages, beside the total: {hours}"]


def _padding(plan: PipelinePlan) -> list[str]:
    """What of the budgets is no token: rows of whole documents are filled up."""
    found = [
        f"{stage.ref.partition('/')[2]}{f' {phase.name}' if len(stage.phases) > 1 else ''} {phase.padding:.0%}"
        for stage in plan.stages
        for phase in stage.phases
        if phase.padding
    ]
    return (
        textwrap.wrap(f"padding, of the tokens above: {', '.join(found)}", WIDTH, subsequent_indent="  ")
        if found
        else []
    )


def _pairs(plan: PipelinePlan) -> list[str]:
    """What a row of preference training has."""
    paired = [stage for stage in plan.stages if any(phase.objective == "preference" for phase in stage.phases)]
    found = [stage.ref.partition("/")[2] for stage in paired]
    said = "both answers of each pair, with the prompt before each, are in one row: context and budget count all of it"
    return textwrap.wrap(f"{', '.join(found)}: {said}", WIDTH, subsequent_indent="  ") if found else []


def _numbers(plan: PipelinePlan) -> Iterator[str]:
    """Every other number that a schedule gives, phase by phase: what it is on both sides of each hand-over."""
    phases = [
        (f"{stage.ref.partition('/')[2]}{f' {phase.name}' if len(stage.phases) > 1 else ''}", phase.numbers)
        for stage in plan.stages
        for phase in stage.phases
    ]
    for number in dict.fromkeys(name for _, found in phases for name in found):
        entries = [f"{name} {found[number][0]:g}→{found[number][1]:g}" for name, found in phases if number in found]
        yield from textwrap.wrap(f"{number}: {', '.join(entries)}", WIDTH, subsequent_indent="  ")


def assumptions(hardware: Hardware) -> list[str]:
    """On what the prices rest."""
    in_fp32 = "" if hardware.peak_fp32 is None else f" ({figures.short(hardware.peak_fp32)} in fp32)"
    lines = [
        f"priced on {hardware.name} ({hardware.title}): {figures.short(hardware.peak)}FLOP/s a device{in_fp32}, "
        f"of which {hardware.mfu:.0%} are reached",
        *(f"  {covers}: {mark}, {why}" for covers, mark, why in hardware.sources if "mfu" in covers),
        "FLOPs: 2 a multiply-accumulate, backward twice forward, causal attention over half the row, no recomputation,",
        "within documents where their lengths are known and they are masked. p: patches. params: total/active.",
        "RoPE: its base; x8: Llama 3's or YaRN's factor; /8: positions divided by 8 (interpolation).",
        "z1 (ZeRO-1): weights and gradients whole on each rank, the rest divided; fsdp: all divided.",
        "t8 p4 v2 c16 e8: tensor, pipeline (interleaved), context and expert parallel ranks of the NeMo engine.",
    ]
    return lines
