"""What `execution: {determinism: ...}` sets, and that all of it is undone: a GPU's settings need no GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from stages.engines import results, run, training
from stages.errors import UserError
from stages.spec.resolved import Execution
from stages.store import manifest, run_record
from stages.train.determinism import deterministic, settings
from tests.unit.train import tiny

BOX = Path("results/mini/tiny/box")


def execution(**changes: object) -> Execution:
    return tiny.EXECUTION.model_copy(update=changes)


def state() -> tuple[object, ...]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return (
        torch.get_deterministic_debug_mode(),
        torch.get_num_threads(),
        (matmul.fp32_precision, cudnn.conv.fp32_precision),
        (matmul.allow_bf16_reduced_precision_reduction, matmul.allow_fp16_reduced_precision_reduction),
        cudnn.benchmark,
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("exact", (2, 2, ("ieee", "ieee"), (False, False), False)),
        ("fast", (0, 2, ("ieee", "ieee"), (True, True), True)),
    ],
)
def test_kernels_are_those_of_the_word_and_what_was_before_comes_back(
    word: str, expected: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 is off under both: products of fp32 are fp32."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = state()
    with deterministic(execution(determinism=word, device="cuda", threads=2)):
        assert state() == expected
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if word == "exact" else None)
    assert state() == before


def test_an_operation_without_a_deterministic_kernel_stops_an_exact_run_only() -> None:
    def put() -> None:
        torch.zeros(4).put_(torch.tensor([1, 1]), torch.ones(2))

    with deterministic(execution(determinism="fast")):
        put()
    with deterministic(execution(determinism="exact")), pytest.raises(RuntimeError, match="deterministic"):
        put()


def test_a_workspace_of_cublas_that_is_not_reproducible_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    with (
        pytest.raises(UserError, match=r"CUBLAS_WORKSPACE_CONFIG=:0:0; allowed.*:4096:8 or :16:8"),
        deterministic(execution(device="cuda")),
    ):
        pass
    with deterministic(execution(device="cuda", determinism="fast")), deterministic(execution(device="cpu")):
        pass
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with deterministic(execution(device="cuda")):
        pass


@pytest.mark.parametrize("name", ["TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"])
@pytest.mark.parametrize("word", ["exact", "fast"])
def test_tf32_by_the_environment_is_refused_on_a_gpu(word: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with (
        pytest.raises(UserError, match=rf"{name}=1; allowed on a GPU: 0, or leave it out"),
        deterministic(execution(device="cuda", determinism=word)),
    ):
        pass
    with deterministic(execution(determinism=word)):
        pass
    for allowed in ("0", ""):
        monkeypatch.setenv(name, allowed)
        with deterministic(execution(device="cuda", determinism=word)):
            pass


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({}, "bit-exact"),
        ({"threads": 2}, "same-order"),
        ({"ranks": 4}, "bit-exact"),
        ({"ranks": 3}, "same-order"),
        ({"determinism": "fast"}, "same-order"),
        ({"device": "cuda", "threads": 8, "ranks": 4}, "bit-exact"),
        ({"device": "cuda", "ranks": 6}, "same-order"),
        ({"device": "cuda", "determinism": "fast"}, "same-order"),
    ],
)
def test_the_tier_follows_from_device_threads_ranks_and_determinism(
    changes: dict[str, object], tier: str, tmp_path: Path
) -> None:
    stage = tiny.make("next_token").model_copy(update={"execution": execution(**changes)})
    assert results.tier(stage, tiny.inputs(tmp_path)) == tier


def test_a_fast_run_says_what_is_given_up_in_its_log_its_record_and_its_tier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    stage = tiny.make("next_token").model_copy(update={"execution": execution(determinism="fast")})
    run(stage, tiny.inputs(tmp_path))
    assert "tiny/box: determinism: fast, so kernels may add in any order" in capsys.readouterr().out
    assert manifest.read(tmp_path / BOX / manifest.NAME).tier == "same-order"
    record = run_record.read(tmp_path / BOX).model_dump()
    assert record["settings"] == {"determinism": "fast", "threads": 1}
    assert (record["backend"], record["ranks_per_gpu"]) == (None, 0)
    assert [device["device"] for device in record["devices"]] == ["cpu"]


def test_the_record_of_a_gpu_names_what_bears_on_its_numbers() -> None:
    assert settings(execution(device="cuda")) == {
        "determinism": "exact",
        "threads": 1,
        "tf32": False,
        "bf16_reduced_precision_reduction": False,
        "cudnn_benchmark": False,
        "CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }
