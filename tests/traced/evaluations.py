"""Evaluations traced on fake CUDA tensors: all but waits, since they read back what they find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from stages import evals
from stages.evals.heldout import Heldout
from stages.models.build import build
from stages.train.determinism import deterministic
from tests.cuda import stages
from tests.cuda.test_evaluations import CASES
from tests.traced.steps import GPU, WAYS, as_on_a_gpu
from tests.traced.watch import unordered, where
from tests.unit.evals.stages_by_hand import OURO, phase, stage

# Conversations that are all longer than the context, beside text.
TOO_LONG = {"too long": stage({"llm": OURO}, ("loops",), phase("text", "chats", loops=2), context=24)}
TRACED = [name for name in CASES if name != "pictures"] + [*TOO_LONG]  # pictures read their own rows back
QUICK = [name for name in TRACED if name != "conversations"]  # whose replies go on and on


def trace(case: str, corpora: Path, mode: FakeTensorMode) -> dict[str, int]:
    """All evaluations of a stage; raises what torch finds wrong with an operation."""
    of = stages.on((CASES | TOO_LONG)[case], GPU, "torch-bf16")
    with as_on_a_gpu(WAYS[0]), mode, deterministic(of.execution), MadeUp():
        evals.run(evals.Whole(of, build(of, "cuda")), of, Heldout(corpora))
    return {}


class MadeUp(TorchDispatchMode):
    """What is read back from the GPU: any numbers, and half of what a mask may name."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        aten = torch.ops.aten
        if any(isinstance(x, Tensor) and where(x) == "cuda" for x in args):
            unordered(func.name().partition(".")[0].rpartition("::")[2], args)
        if func is aten._local_scalar_dense.default:
            return 0.5 if args[0].is_floating_point() else 1
        if func is aten._to_copy.default and where(args[0]) == "cuda" and _named(kwargs) == "cpu":
            with _disable_current_modes():  # a real tensor, which numpy can read
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.bool:
            return _half(*args[:1], *args[1])
        return func(*args, **kwargs)


def _named(kwargs: Any) -> str:
    device = kwargs.get("device")
    return "" if device is None else torch.device(device).type


def _half(x: Tensor, mask: Tensor) -> Tensor:
    if x.device != mask.device:
        raise RuntimeError(f"a mask on {mask.device} for a tensor on {x.device}")
    return x.new_empty(max(1, mask.numel() // 2), *x.shape[mask.dim() :])
