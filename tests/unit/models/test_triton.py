"""Triton's kernels: interpreted on a CPU, against formulas; compiled for an H100. On one: tests/cuda/test_ops.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

pytest.importorskip("triton")


def ran(*command: str, **environment: str) -> str:
    """What a process of its own prints: Triton reads its variables when it is imported."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    found = subprocess.run(
        [sys.executable, "-m", *command], env={**known, **environment}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.slow
def test_interpreted_they_compute_what_the_formulas_give() -> None:
    said = ran("pytest", "-q", "-p", "no:cacheprovider", str(HERE / "interpreted_kernels.py"), TRITON_INTERPRET="1")
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.slow
def test_compiled_for_an_h100_they_move_8_or_16_bytes_at_a_time_and_nothing_out_of_registers(tmp_path: Path) -> None:
    """But for the label, its logit and its loss: what makes these kernels worth having is the bytes that they move."""
    found = json.loads(ran("tests.unit.models.compiled_kernels", TRITON_CACHE_DIR=str(tmp_path)))
    a_row = {"ld.global.b64": 1, "ld.global.b32": 1, "st.global.b32": 1}
    for name, memory in found.items():
        narrow = {what: times for what, times in memory.items() if ".v2.b32" not in what and ".v4.b32" not in what}
        assert narrow == (a_row if name.startswith("softmax") else {}), name
        assert memory, name
