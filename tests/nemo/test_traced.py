"""Steps of published stages as on GPUs, at their size and number of ranks, on fake tensors (`tests.nemo.traced`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.contract import hardware, memory
from stages.spec.project import Project
from tests.traced import device

ROOT = Path(__file__).parents[2]
PROJECT = Project.load(ROOT)
STAGES = [
    (f"{name}/{one.name}", number)
    for name in ("llama31_1m", "kimi_vl", "ouro") for one in PROJECT.resolve(name, "paper").stages.values()
    if one.execution.parallel is not None for number in range(len(one.phases))
]  # fmt: skip
QUICK = [("llama31_1m/cpt_1m", 0), ("kimi_vl/joint_pretrain", 0)]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(device.compiler() is None, reason="needs a C++ compiler")]
# Of the bytes that the plan says are alive: what was traced is at most so much more. Without recomputation Ouro's
# sequence parallel layers keep 14% more than it counts.
MORE = 1.15


@pytest.mark.parametrize(
    ("ref", "number"),
    [pytest.param(*one, marks=() if one in QUICK else (pytest.mark.nightly,)) for one in STAGES],
    ids=[f"{ref.replace('/', '.')}.{number}" for ref, number in STAGES],
)
@pytest.mark.timeout(900)
def test_a_step_can_be_executed_and_has_the_bytes_that_are_planned(ref: str, number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.nemo.traced", str(device.compiled(tmp_path)), ref, str(number)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["odd"] == [], "factors of two types, sums without an order, views that FlashAttention cannot read"
    pipeline, _, name = ref.partition("/")
    stage = PROJECT.resolve(pipeline, "paper").stages[name]
    gpu = hardware.load(PROJECT.files, "h100")
    planned = memory.of(stage, stage.phases[number], gpu)
    states = planned.states + planned.gradients
    assert found["built"] < found["evaluation"] <= found["passes"], "an evaluation fits where a step does"
    assert found["built"] == pytest.approx(states, rel=0.05)
    worst = max(found["passes"], found["update"], found["checkpoint"])
    assert worst <= MORE * (states + planned.activations + planned.loss)
    assert worst + gpu.runtime <= gpu.memory
