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
from tests.nemo.traced import preferring, shortened
from tests.traced import device

ROOT = Path(__file__).parents[2]
PROJECT = Project.load(ROOT)
STAGES = [
    (f"{name}/{one.name}", number)
    for name in ("llama31_1m", "kimi_vl", "ouro") for one in PROJECT.resolve(name, "paper").stages.values()
    if one.execution.parallel is not None for number in range(len(one.phases))
]  # fmt: skip
# With so many layers, of which all are alike but Kimi-VL's first; whole, each is traced nightly.
SHORT = [("llama31_1m/cpt_1m", 0, 4), ("kimi_vl/joint_pretrain", 0, 9)]
PREFERRING = [
    ("llama31_1m/sft_32k", 0),
    ("llama31_1m/sft_1m", 0),
    ("kimi_vl/text_pretrain", 0),
]  # with pairs in their rows
pytestmark = [pytest.mark.slow, pytest.mark.skipif(device.compiler() is None, reason="needs a C++ compiler")]
# Of the bytes that the plan says are alive: what was traced is at most so much more.
MORE = 1.05


@pytest.mark.parametrize(
    ("ref", "number", "layers", "objective"),
    [
        *(pytest.param(*one, None, "", marks=pytest.mark.nightly) for one in STAGES),
        *(pytest.param(*one, "") for one in SHORT),
        *(pytest.param(*one, None, "preference", marks=pytest.mark.nightly) for one in PREFERRING),
    ],
    ids=lambda one: str(one).replace("/", "."),
)
@pytest.mark.timeout(900)
def test_a_step_can_be_executed_and_has_the_bytes_that_are_planned(
    ref: str, number: int, layers: int | None, objective: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.nemo.traced", str(device.compiled(tmp_path)), ref, str(number)]
    command += ["" if layers is None else str(layers), objective]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["odd"] == [], "factors of two types, sums without an order, views that FlashAttention cannot read"
    pipeline, _, name = ref.partition("/")
    stage = shortened(preferring(PROJECT.resolve(pipeline, "paper").stages[name], objective), layers)
    gpu = hardware.load(PROJECT.files, "h100")
    planned = memory.of(stage, stage.phases[number], gpu)
    states = planned.states + planned.gradients
    assert found["built"] < found["evaluation"] <= found["passes"], "an evaluation fits where a step does"
    assert found["built"] == pytest.approx(states, rel=0.05)
    worst = max(found["passes"], found["update"], found["checkpoint"])
    assert worst <= MORE * (states + planned.activations + planned.loss)
    assert worst + gpu.runtime <= gpu.memory
