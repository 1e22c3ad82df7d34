"""Steps of every kind of stage, traced on fake CUDA tensors (nothing is computed), and defects that the trace finds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.traced import device

# Forward passes of attention.
ATTENTION = ("torch_attn::_varlen_attn", "aten::_scaled_dot_product_flash_attention")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(device.compiler() is None, reason="needs a C++ compiler")


def traced(folder: Path, *words: str) -> dict[str, dict[str, Any]]:
    """What `python -m tests.traced` prints, by name."""
    command = [sys.executable, "-m", "tests.traced", str(device.compiled(folder)), *words]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def wrong(found: dict[str, Any]) -> dict[str, str]:
    return {name: one["wrong"] for name, one in found.items() if "wrong" in one}


def used(found: dict[str, Any], name: str) -> set[str]:
    """The traced steps that have an operation of this name."""
    return {case for case, one in found.items() if any(name in operation for operation in one["operations"])}


@pytest.mark.slow
def test_a_step_of_every_kind_can_be_executed_on_a_gpu_and_a_defect_is_found(tmp_path: Path) -> None:
    """On one device, in types that kernels take, without waiting, without an order that a GPU chooses."""
    found = traced(tmp_path)
    assert not wrong(found["steps"])
    for name in ("_varlen_attn", "_grouped_mm", "_fused_adamw", "_efficient_attention_backward"):
        assert used(found["steps"], name), f"no traced step has {name}"
    again, kept = (found["steps"][f"next_token: {way}"]["operations"] for way in ("exact", "exact, Apex"))
    assert {name: count for name, count in again.items() if name in ATTENTION} == {
        name: count for name, count in kept.items() if name in ATTENTION
    }, "recomputed layers keep what attention put out"
    assert again["aten::mm"] > kept["aten::mm"]
    for name, one in found["planted"].items():
        assert re.search(one["wanted"], one.get("wrong", "nothing")), (name, one)


@pytest.mark.nightly
def test_and_in_every_way(tmp_path: Path) -> None:
    assert not wrong(traced(tmp_path, "all")["steps"])
