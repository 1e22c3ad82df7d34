"""Profiles of machines, and what jobs ask of them: figures that no machine and no cluster has are notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.devices import implausible
from stages.check.notices.executions import in_fp32, often_written, unheard_of
from stages.check.notices.run import as_written, notices
from stages.spec.project import Project
from tests import shipped
from tests.unit.spec.small_project import edit

STAGE = "llama31_1m/cpt_512k.yaml"


def test_the_shipped_profiles_and_jobs_are_as_others() -> None:
    assert list(implausible(shipped.project())) == []
    assert [one for tell in (unheard_of, often_written, in_fp32) for one in tell(shipped.project(), "paper")] == []


@pytest.mark.parametrize(
    ("device", "old", "new", "said"),
    [
        ("h100", "peak: 989T", "peak: 1979T",
         "1979T operations a second; an H100 has 990T for dense bf16, and datasheets print twice that for sparse."),
        ("h100", "memory: 80 GB", "memory: 800 GB", "800 GB; an H100 has 94 GB at most."),
        ("h200", "memory: 141 GB", "memory: 192 GB", "192 GB; an H200 has 141 GB at most."),
        ("h100", "bandwidth: 2.4T", "bandwidth: 24T", "24T bytes a second; an H100 has 3.94T at most."),
        ("h100", "per_node: 8", "per_node: 80", "80 devices on a node; nodes have 4, 8 or 16."),
        ("h100", "mfu: 40%", "mfu: 90%",
         "90% of the peak; training reaches 30% to 55% (arXiv 2104.04473, 2407.21783)."),
    ],
)  # fmt: skip
def test_a_figure_that_the_device_does_not_have(tmp_path: Path, device: str, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), f"hardware/{device}.yaml", old, new)
    (notice,) = implausible(Project.load(tmp_path))
    assert notice == f"specs/hardware/{device}.yaml:{line}: {said}"
    assert notice in as_written(Project.load(tmp_path))


def test_of_a_device_that_is_not_known_nothing_is_said(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    edit(root, "hardware/h200.yaml", "title: NVIDIA H200 SXM, 141 GB", "title: a device of next year")
    edit(root, "hardware/h200.yaml", "hardware: h200", "hardware: next")
    (root / "specs/hardware/h200.yaml").rename(root / "specs/hardware/next.yaml")
    edit(root, "hardware/next.yaml", "peak: 989T", "peak: 9890T")
    assert list(implausible(Project.load(root))) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("time_limit: 2880 min", "time_limit: 2880 h",
         "cpt_512k has a time limit of 2,880 h a job; a killed job goes on from its checkpoint, and partitions allow "
         "hours or days."),
        ("memory: 1500 GB", "memory: 15000 GB", "cpt_512k asks for 15 TB a node; nodes of eight GPUs have 1 to 4 TB."),
    ],
)  # fmt: skip
def test_a_job_that_no_cluster_starts(tmp_path: Path, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), STAGE, old, new)
    (notice,) = unheard_of(Project.load(tmp_path), "paper")
    assert notice == f"specs/{STAGE}:{line}: {said}"
    assert notice in notices(Project.load(tmp_path), ["paper"])


def test_large_checkpoints_that_follow_one_another_within_a_minute(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    line = edit(root, "ouro/stable_1.yaml", "checkpoint_every: 1000 steps", "checkpoint_every: 2 steps")
    (said,) = often_written(Project.load(root), "paper")
    assert said.startswith(f"specs/ouro/stable_1.yaml:{line}: stable_1 writes a checkpoint of ")
    assert said.endswith(" s of training, by plan; recipes have minutes to hours.")
    assert said in notices(Project.load(root), ["paper"])


def test_a_large_model_in_fp32_on_gpus(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    edit(root, "scales/paper.yaml", "engine_class: nemo-bf16", "engine_class: nemo-fp32")
    said = "without tensor cores, for 15 times as many hours on h100 as in bf16; released models are trained in bf16."
    first, *_ = in_fp32(Project.load(root), "paper")
    assert first.startswith("paper: nemo-fp32 trains the ")
    assert first.endswith(said)
    assert first in notices(Project.load(root), ["paper"])
    edit(root, "hardware/h100.yaml", "peak_fp32: 67T\n", "")
    edit(root, "hardware/h100.yaml", "[peak, peak_fp32, memory]", "[peak, memory]")
    first, *_ = in_fp32(Project.load(root), "paper")
    assert "and the plan does not count that: its profile has no `peak_fp32`" in first
