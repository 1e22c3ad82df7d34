"""Section: what deterministic kernels cost, and that they give the same bits twice where the fast ones may not."""

from __future__ import annotations

import torch

from benchmarks.device import harness
from benchmarks.device.rows import Row, Rows, against
from benchmarks.device.sections import Size
from benchmarks.device.training import CPU, GPU

GOAL = 1.10


def run(size: Size, rows: Rows) -> None:
    device = torch.device(size.device)
    for work in (CPU[0],) if size.rehearsed else (GPU[0], GPU[2]):

        def compared(work: harness.Work = work) -> Row:
            seconds = [harness.train(work, device, exact).seconds for exact in (True, False, False, True)]
            exact, fast = min(seconds[0], seconds[3]), min(seconds[1], seconds[2])
            return against(
                f"{work.name}: a step, exact", work.setting, exact, ("fast: any kernels", fast), "s", ("<=", GOAL)
            )

        rows.measure(work.name, compared)
