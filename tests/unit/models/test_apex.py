"""NVIDIA Apex is distinguished from PyPI's, and its kernels are called as its sources ask.

The kernels themselves need a GPU. What stands in for them here takes the arguments of Apex's functions, checks what
they check, and computes their formulas on a CPU: so the order of the arguments is tested, not Apex.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.engines import device
from stages.errors import UserError
from stages.models.ops import Update, apex_forms, backend, functional, multi_tensor
from stages.train.adamw import adamw_step
from tests.unit.train import tiny

Lists = list[list[Tensor]]


class Amp(ModuleType):
    """amp_C: csrc/amp_C_frontend.cpp."""

    @staticmethod
    def multi_tensor_adam(
        chunk_size: int, noop_flag: Tensor, tensor_lists: Lists, lr: float, beta1: float, beta2: float, epsilon: float,
        step: int, mode: int, bias_correction: int, weight_decay: float,
    ) -> None:  # fmt: skip
        _checked(noop_flag, tensor_lists, 4)
        assert mode == 1  # ADAM_MODE_1, decoupled decay
        assert bias_correction == 1
        for g, p, m, v in zip(*tensor_lists, strict=True):
            m.copy_(beta1 * m + (1 - beta1) * g)
            v.copy_(beta2 * v + (1 - beta2) * g * g)
            update = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + epsilon) + weight_decay * p
            p.sub_(lr * update)

    @staticmethod
    def multi_tensor_l2norm(
        chunk_size: int, noop_flag: Tensor, tensor_lists: Lists, per_tensor: bool
    ) -> tuple[Tensor, Tensor]:
        _checked(noop_flag, tensor_lists, 1)
        assert not per_tensor
        return torch.cat([tensor.flatten() for tensor in tensor_lists[0]]).norm()[None], torch.empty(0)

    @staticmethod
    def multi_tensor_scale(chunk_size: int, noop_flag: Tensor, tensor_lists: Lists, scale: float) -> None:
        _checked(noop_flag, tensor_lists, 2)
        for source, target in zip(*tensor_lists, strict=True):
            target.copy_(source * scale)


def _checked(flag: Tensor, lists: Lists, depth: int) -> None:
    """What csrc/multi_tensor_apply.cuh refuses, and what its kernels take for granted."""
    assert (flag.dtype, flag.numel()) == (torch.int32, 1)
    assert len(lists) == depth
    assert all(len(one) == len(lists[0]) > 0 for one in lists)
    assert all(tensor.is_contiguous() for one in lists for tensor in one)
    assert all(tensor.numel() for tensor in lists[0]), "kernels of tensors before an empty one may not be started"
    assert all(tensor.numel() == first.numel() for one in lists for tensor, first in zip(one, lists[0], strict=True))


class Loss(torch.autograd.Function):
    """apex/contrib/xentropy/softmax_xentropy.py with xentropy_kernel.cu's checks."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, smoothing: float, padding_idx: int, half_to_float: bool
    ) -> Tensor:
        assert not half_to_float or logits.dtype == torch.float16
        assert smoothing == 0
        assert logits.numel() > 0
        assert bool((labels >= 0).all()), "the kernel would read outside of the logits"
        ctx.save_for_backward(logits, labels)
        return F.cross_entropy(logits, labels, reduction="none").masked_fill(labels == padding_idx, 0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        logits, labels = ctx.saved_tensors
        assert grads[0].dtype == logits.dtype  # the kernel casts the pointer
        softmax = logits.softmax(-1) - F.one_hot(labels, logits.shape[1])
        return grads[0][:, None] * softmax, None, None, None, None


def lists(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for shape in ((7, 5), (3,), (1,))]


@pytest.mark.parametrize("factor", [None, torch.tensor(0.3)], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("form", ["apex", "torch"])
def test_adamw_is_the_plain_update(form: str, factor: Tensor | None) -> None:
    at = Update(3, 1e-2, 0.9, 0.95, 1e-8, 2.5, factor)
    plain, other = ((lists(0), lists(1), lists(2), [x.square() for x in lists(3)]) for _ in range(2))
    adamw_step(*plain, at)
    if form == "apex":
        apex_forms.adamw(Amp("amp_C"), *other, at)
    else:
        multi_tensor.torch_adamw(*other, at)
    for ours, theirs in zip(plain, other, strict=True):
        for one, two in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def test_the_norm_and_the_scaling_are_the_plain_ones() -> None:
    tensors, amp = lists(0), Amp("amp_C")
    assert apex_forms.global_norm(amp, tensors).shape == ()
    torch.testing.assert_close(apex_forms.global_norm(amp, tensors), multi_tensor.global_norm(tensors))
    apex_forms.scale(amp, tensors, 0.5)
    for half, whole in zip(tensors, lists(0), strict=True):
        assert torch.equal(half, whole * 0.5)


def test_the_norm_leaves_out_tensors_without_elements() -> None:
    """Shared experts of no width have gradients of no elements."""
    tensors = [torch.zeros(0, 5), *lists(0), torch.zeros(5, 0)]
    found = apex_forms.global_norm(Amp("amp_C"), tensors)
    torch.testing.assert_close(found, multi_tensor.global_norm(tensors))


def test_a_micro_batch_without_a_target_has_a_loss_and_a_gradient_without_rows() -> None:
    logits = torch.zeros(0, 11, dtype=torch.bfloat16, requires_grad=True)
    fused = SimpleNamespace(SoftmaxCrossEntropyLoss=Loss)
    found = apex_forms.cross_entropy(fused, logits, torch.zeros(0, dtype=torch.int64))  # type: ignore[arg-type]
    assert (found.shape, found.dtype) == ((0,), torch.float32)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert gradient.shape == (0, 11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_hands_the_kernel_labels_and_logits_that_it_can_read(dtype: torch.dtype) -> None:
    logits = torch.randn(6, 11, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    labels = torch.tensor([0, 10, -100, 3, 3, -100])
    weights = torch.arange(1.0, 7.0)
    fused = SimpleNamespace(SoftmaxCrossEntropyLoss=Loss)
    found = apex_forms.cross_entropy(fused, logits, labels)  # type: ignore[arg-type]
    plain = functional.cross_entropy(logits, labels)
    torch.testing.assert_close(found, plain)
    ours, theirs = (torch.autograd.grad(one, logits, weights, retain_graph=True)[0] for one in (found, plain))
    torch.testing.assert_close(ours, theirs)
    assert not ours[2].any()


def test_rms_norm_gives_the_kernel_one_type() -> None:
    seen = []

    def fused_rms_norm_affine(x: Tensor, weight: Tensor, shape: torch.Size, eps: float) -> Tensor:
        seen.append((x.dtype, weight.dtype, tuple(shape), eps, torch.is_autocast_enabled("cuda")))
        return x

    fused = SimpleNamespace(fused_rms_norm_affine=fused_rms_norm_affine)
    gain = torch.ones(4)
    for x in (torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.bfloat16)):
        apex_forms.rms_norm(fused, x, gain, 1e-5)  # type: ignore[arg-type]
    assert seen == [(torch.float32, torch.float32, (4,), 1e-5, False)] * 2


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, before all others; what was found before is forgotten."""
    monkeypatch.syspath_prepend(tmp_path)
    backend.apex.cache_clear()
    yield tmp_path
    backend.apex.cache_clear()
    sys.modules.pop("amp_C", None)


def lay(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("raise RuntimeError('imported')\n" if name == "apex/__init__.py" else "")
    importlib.invalidate_caches()


def test_without_apex_a_gpu_takes_torchs_kernels_and_a_cpu_the_plain_forms(packages: Path) -> None:
    assert backend.other_apex() is None
    assert set(backend.describe("cuda").values()) == {"torch"}
    assert set(backend.describe("cpu").values()) == {"plain"}


def test_pypis_apex_is_refused_on_a_gpu_and_named_on_a_cpu(
    packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay(packages, "apex/__init__.py", "apex/lib/libapex.py")  # importing it would raise
    assert set(backend.describe("cuda").values()) == {"torch"}
    stage = tiny.make("next_token")
    device.of(stage)
    assert "unrelated project" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    on_gpu = stage.execution.model_copy(update={"device": "cuda"})
    with pytest.raises(UserError, match="pip uninstall apex"):
        device.of(stage.model_copy(update={"execution": on_gpu}))


def test_nvidias_apex_counts_by_the_extensions_that_were_built(packages: Path) -> None:
    files = ("apex/__init__.py", "apex/normalization/__init__.py", "apex/normalization/fused_layer_norm.py")
    lay(packages, *files, "amp_C.py")
    (packages / "apex/__init__.py").write_text("")
    assert backend.other_apex() is None
    found = backend.describe("cuda")
    assert found == {
        "rms_norm": "torch", "cross_entropy": "torch", "adamw": "apex", "global_norm": "apex", "scale": "apex",
    }  # fmt: skip
