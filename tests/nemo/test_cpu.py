"""Megatron on a machine without GPUs: what is asked of CUDA is answered for the CPU, and nothing else changes."""

from __future__ import annotations

import sys

import pytest
import torch

from stages.engines.nemo import absent, cpu


def test_installing_again_changes_nothing() -> None:
    answers = torch.cuda.is_available, torch.cuda.current_stream, torch.optim.Optimizer.__dict__
    cpu.install()
    assert (torch.cuda.is_available, torch.cuda.current_stream, torch.optim.Optimizer.__dict__) == answers


def test_what_is_made_for_a_gpu_is_on_the_host() -> None:
    made = [
        torch.zeros(2, device="cuda"),
        torch.empty(2, device=0),
        torch.ones(2).cuda(),
        torch.ones(2).to("cuda:1"),
        torch.ones(2).to(torch.device("cuda")),
        torch.tensor([1.0], device=torch.cuda.current_device()),
    ]
    assert {tensor.device.type for tensor in made} == {"cpu"}


def test_the_random_state_is_the_hosts() -> None:
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker

    tracker = CudaRNGStatesTracker()
    tracker.add("one", 7)
    with tracker.fork("one"):
        drawn = torch.rand(3)
    assert drawn.equal(torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_packages_that_are_missing_are_missing_again_once_megatron_is_imported() -> None:
    assert "megatron.bridge" in sys.modules
    with pytest.raises(ModuleNotFoundError):
        import transformer_engine  # noqa: F401
    from megatron.core.optimizer import optimizer_config  # noqa: F401
    from megatron.core.transformer.transformer_config import TransformerConfig  # noqa: F401

    assert not [name for name, module in sys.modules.items() if isinstance(module, absent._Empty)]


def test_calling_what_is_missing_says_what_it_was() -> None:
    made = absent._Empty("modelopt").torch.distill
    with pytest.raises(absent.Called, match=r"modelopt\.torch\.distill is not installed here"):
        made()
