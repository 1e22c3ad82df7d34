"""Section: tokens per second of training beside Hugging Face's Trainer and torchtitan, MFU, and what the plan said.

Ours with deterministic kernels (`determinism: exact`) and with any (`fast`); the others take any.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.device import harness, hf, titan
from benchmarks.device.harness import Ran, Work
from benchmarks.device.rows import NEAR, Row, Rows, against, figure, first_line, free
from benchmarks.device.sections import Size
from stages.contract import duration, hardware, memory
from stages.contract.hardware import Hardware
from stages.models.ops import choice
from stages.spec.families.llama import LlamaModel
from stages.spec.files import Files

ROOT = Path(__file__).resolve().parents[2]
SMALL = LlamaModel(
    family="llama", layers=12, hidden=768, ffn=2048, heads=12, kv_heads=12, head_dim=64, vocab=50_304, norm_eps=1e-5,
    tied=True, init_std=0.02,
)  # fmt: skip
SLICE = LlamaModel(
    family="llama", layers=4, hidden=4096, ffn=14_336, heads=32, kv_heads=8, head_dim=128, vocab=128_256, norm_eps=1e-5,
    tied=False, init_std=0.02,
)  # fmt: skip
TINY = LlamaModel(
    family="llama", layers=2, hidden=32, ffn=64, heads=4, kv_heads=2, head_dim=8, vocab=512, norm_eps=1e-5, tied=True,
    init_std=0.02,
)  # fmt: skip
GPU = (
    Work("Llama of 124M", SMALL, 8192, 4, 2, False, 8),
    Work("Llama of 124M", SMALL, 65_536, 1, 2, True, 4),
    Work("Llama 3.1 8B's shape, 4 layers", SLICE, 8192, 1, 2, False, 6),
    Work("Llama 3.1 8B's shape, 4 layers", SLICE, 65_536, 1, 1, True, 4),
)
CPU = (Work("tiny", TINY, 64, 2, 2, False, 4), Work("tiny", TINY, 128, 1, 1, True, 4))
GOAL, TITAN, COST = 1.3, 1.0, 1.10  # of Hugging Face's speed, of torchtitan's; what determinism may cost

Ours = dict[str, Ran | str]  # by how the kernels are chosen: what was measured, or why not


def run(size: Size, rows: Rows) -> None:
    """torchtitan comes last, whose compiler takes long: where time runs out, its rows alone are missing."""
    device = torch.device(size.device)
    works: list[tuple[Work, Ours]] = [(work, {}) for work in (CPU if size.rehearsed else GPU)]
    for work, ours in works:
        rows.measure(work.name, partial(one, work, device, ours))
        rows.measure(f"{work.name}: as planned", partial(planned, work, device, ours))
    for work, ours in works:
        rows.measure(work.name, partial(beside_titan, work, device, ours))


def one(work: Work, device: torch.device, ours: Ours) -> list[Row]:
    """Each way in turn. One that fails is a row that says so; the Trainer may be absent. Ours is kept in `ours`."""
    ours |= {how: attempt(partial(harness.train, work, device, how == "exact")) for how in ("exact", "fast")}
    theirs = attempt(lambda: hf.train(work, device))
    name = f"Hugging Face's Trainer, {hf.attention(device)}"
    found = speeds(work, ours, (name, theirs), GOAL)
    exact, fast = ours["exact"], ours["fast"]
    if isinstance(exact, Ran) and isinstance(fast, Ran):
        cost = ("fast: any kernels", fast.seconds)
        found.append(against("its step, exact", "the same", exact.seconds, cost, "s", ("<=", COST)))
    return found


def planned(work: Work, device: torch.device, ours: Ours) -> list[Row]:
    """What the plan says of the steps of `one`, where they were measured."""
    exact = ours.get("exact")
    return predicted(work, exact, device) if isinstance(exact, Ran) else []


def beside_titan(work: Work, device: torch.device, ours: Ours) -> list[Row]:
    """The steps of `one` beside torchtitan's, which may be absent."""
    return speeds(work, ours, (titan.NAME, attempt(lambda: titan.train(work, device))), TITAN)


def speeds(work: Work, ours: Ours, beside: tuple[str, Ran | str], goal: float) -> list[Row]:
    """Tokens a second of ours, exact and fast, and the memory of exact, beside one alternative's."""
    name, theirs = beside
    found = []
    for how, ran in ours.items():
        what = f"{work.name}, {how}"
        if isinstance(ran, str):
            found.append(Row(what, work.setting, f"failed: {ran}", failed=True))
        elif isinstance(theirs, str):
            found.append(
                Row(what, work.setting, figure(work.tokens / ran.seconds, "tokens/s"), f"none: {name}: {theirs}")
            )
        else:
            rates = work.tokens / ran.seconds, (name, work.tokens / theirs.seconds)
            found.append(against(what, work.setting, *rates, "tokens/s", (">=", goal)))
    exact = ours.get("exact")
    if isinstance(exact, Ran) and isinstance(theirs, Ran):
        found.append(
            against("its peak memory", "allocated", exact.allocated / 1e9, (name, theirs.allocated / 1e9), "GB")
        )
    return found


def attempt(measured: Callable[[], Ran]) -> Ran | str:
    """What was measured, or why not: too large for this GPU, not installed, or broken, which the log shows."""
    try:
        return measured()
    except Exception as error:
        traceback.print_exc()
        return first_line(error)
    finally:
        free()


def predicted(work: Work, ran: Ran, device: torch.device) -> list[Row]:
    """MFU, and the plan's memory and time beside the measured ones."""
    here = machine(device)
    made = harness.stage(work, device.type)
    mfu = work.flops * work.tokens / ran.seconds / here.peak
    planned = memory.of(made, made.phases[0], here)
    whole = planned.total - planned.runtime  # torch counts nothing of what CUDA takes for itself
    alive = whole - planned.spare
    convention = "6 x parameters + half of the causal square, recomputation not counted"
    return [
        Row("its MFU", f"of {here.peak / 1e12:,.3g} TFLOP/s ({here.title}); {convention}", f"{mfu:.1%}"),
        against(
            "its time, as planned", "exact", duration.step_seconds(made, made.phases[0], here, {}),
            ("measured", ran.seconds), "s", NEAR,
        ),
        against(
            "its memory, as planned", "tensors", alive / 1e9, ("allocated", ran.allocated / 1e9), "GB",
            NEAR,
        ),
        against(
            "its memory, as planned", "with the allocator's cache", whole / 1e9, ("reserved", ran.reserved / 1e9), "GB",
            NEAR,
        ),
    ]  # fmt: skip


def machine(device: torch.device) -> Hardware:
    """The profile of specs/hardware that this device is; an H100's where it is another GPU."""
    if device.type == "cpu":
        return profile("laptop_cpu")
    if "H200" not in torch.cuda.get_device_name():
        return profile("h100")
    return profile("h200_flash4" if "flash4" in choice.features() else "h200")


def profile(name: str) -> Hardware:
    """A profile of specs/hardware."""
    return hardware.load(Files(ROOT), name)
