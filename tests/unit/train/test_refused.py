"""What a stage cannot be run with is refused, and a run leaves the process as it found it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from stages.engines import device, interpreter, run
from stages.errors import UserError
from stages.train.determinism import deterministic
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")


def test_a_release_that_was_not_given_is_asked_for(tmp_path: Path) -> None:
    stage = tiny.make("next_token").model_copy(update={"kind": "import", "phases": (), "trained": ()})
    init = stage.init["llm"].model_copy(update={"weights": "release", "release": "llama31_8b"})
    with pytest.raises(UserError, match=r"'llama31_8b'.*--releases FOLDER"):
        run(stage.model_copy(update={"init": {"llm": init}}), tiny.inputs(tmp_path))
    assert not (tmp_path / "results/mini/tiny/box").exists()


def test_a_device_that_is_not_there_is_told_before_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    stage = tiny.make("next_token")
    stage = stage.model_copy(update={"execution": stage.execution.model_copy(update={"device": "cuda"})})
    with pytest.raises(UserError, match="tiny/box: found no GPU here that PyTorch can use"):
        run(stage, tiny.inputs(tmp_path))
    assert not list(tmp_path.glob("results/.runs/*/attempt-*"))


def test_why_there_is_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old driver as PyTorch warns of it; a build without CUDA; a variable that hides all; none of these."""
    stage = tiny.make("next_token")
    stage = stage.model_copy(update={"execution": stage.execution.model_copy(update={"device": "cuda"})})
    old = "The NVIDIA driver on your system is too old (found version 12040)"

    def old_driver() -> bool:
        warnings.warn(f"CUDA initialization: {old}. Please update your GPU driver.", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch, "__version__", "2.99")
    for release, available, seen, said in (
        (None, lambda: False, "", "(PyTorch 2.99 is built without CUDA)"),
        ("13.0", old_driver, None, f"({old}; PyTorch 2.99 is built for CUDA 13.0)"),
        ("13.0", lambda: False, "", "(CUDA_VISIBLE_DEVICES='' names none that is here)"),
        ("13.0", lambda: False, None, "(no NVIDIA driver answers: `nvidia-smi`)"),
    ):
        monkeypatch.setattr(torch.version, "cuda", release)
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen or "")
        if seen is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        with pytest.raises(UserError) as refused:
            device.of(stage)
        assert f"found no GPU here that PyTorch can use {said}; its scale asks for device cuda" in str(refused.value)


def test_an_engine_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "NEMO", Path("nowhere/python"))
    monkeypatch.setattr(interpreter, "has_megatron", lambda: False)
    stage = tiny.make("next_token")
    other = stage.model_copy(update={"execution": tiny.EXECUTION.model_copy(update={"engine": "nemo"})})
    with pytest.raises(UserError, match=r"engine nemo needs Megatron-Bridge.*`make nemo`"):
        run(other, tiny.inputs(tmp_path))


def test_settings_of_torch_are_put_back(tmp_path: Path) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with deterministic(tiny.EXECUTION):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before
