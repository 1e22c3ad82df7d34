"""What `traced` puts in the place of a GPU and of other ranks, and what it notes; needs tests/traced/device."""

from __future__ import annotations

import contextlib
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.engines.nemo import cpu
from stages.models.ops import choice
from tests.traced import watch
from tests.traced.steps import fused_attention

H100 = SimpleNamespace(major=9, minor=0, name="NVIDIA H100", total_memory=80 << 30, multi_processor_count=132)


class Alive(TorchDispatchMode):
    """Bytes of the storages on the GPU that somebody holds, now and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = defaultdict(int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in tree_leaves(out):
            if isinstance(one, FakeTensor) and one.fake_device.type == "cuda":
                self._hold(one.untyped_storage())
        return out

    def _hold(self, storage: Any) -> None:
        if storage._cdata in self._sizes:
            return
        self._sizes[storage._cdata] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


class Odd(TorchDispatchMode):
    """Operations that a GPU would refuse, or whose sums have no order there. Waits are Core's, and not looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().partition(".")[0]
        short = name.rpartition("::")[2]
        if name.startswith((watch.VARIABLE, watch.FIXED)):
            self._look(watch._read_by_flash, name, *args[: 4 if name.endswith("_backward") else 3])
        if any(isinstance(one, Tensor) and watch.where(one) == "cuda" for one in watch._flat((args, kwargs or {}))):
            self._look(watch._multiplied, short, args)
            self._look(watch.unordered, short, args)
        return func(*args, **(kwargs or {}))

    def _look(self, check: Callable[..., None], *args: Any) -> None:
        try:
            check(*args)
        except watch.FoundError as error:
            self.found.add(str(error))


def answer_cuda() -> None:
    """torch's questions about a GPU that is none, for as long as the process lives."""
    cuda: Any = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count = lambda: 8
    cuda.current_device = lambda: 0
    cuda.Stream = cuda.Event = cpu._Stream
    cuda.current_stream = cuda.default_stream = cpu._Stream
    cuda.stream = lambda stream: contextlib.nullcontext()
    for name in cpu.NOTHING:
        setattr(cuda, name, lambda *_, **__: None)
    for name in cpu.NO_BYTES:
        setattr(cuda, name, lambda *_, **__: 0)
    cuda.memory_stats = lambda *_, **__: defaultdict(int)
    cuda.get_rng_state = lambda *_, **__: torch.get_rng_state()
    cuda.set_rng_state = lambda *_, **__: None
    cuda.manual_seed = cuda.manual_seed_all = lambda seed: None
    cuda.get_device_capability = lambda *_: (H100.major, H100.minor)
    cuda.get_device_properties = lambda *_: H100
    cuda.is_bf16_supported = lambda *_: True
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    choice.features = lambda: frozenset({"flash_varlen", "grouped_mm"})  # type: ignore[assignment]
    choice._properties = lambda device: H100  # type: ignore[assignment]
    functional: Any = F
    functional.scaled_dot_product_attention = fused_attention
    optimizer: Any = torch.optim.Optimizer
    optimizer._accelerator_graph_capture_health_check = lambda self: None
    tensor: Any = Tensor
    tensor.pin_memory = watch.pinned
    tensor.type = _typed(Tensor.type)
    any_torch: Any = torch
    any_torch.tensor = _made(torch.tensor)
    module: Any = nn.Module
    module._apply = _apply


def answer_megatron(stage: Any, phase: Any, rows: list[Any]) -> None:
    """What Core asks other ranks, and reads back from a GPU."""
    from megatron.core.distributed import param_and_grad_buffer
    from megatron.core.tensor_parallel import random
    from megatron.core.transformer.moe import token_dispatcher

    from stages.engines.nemo import vision

    random._get_cuda_rng_state = lambda *_, **__: torch.get_rng_state()
    random._set_cuda_rng_state = lambda *_, **__: None
    random.CudaRNGStatesTracker.fork = lambda *_: contextlib.nullcontext()
    param_and_grad_buffer._coalescing_manager = _coalescing
    token_dispatcher.maybe_move_tensor_to_cpu = _evenly(stage, phase)
    token_dispatcher.sort_chunks_by_idxs = _sorted
    any_dist: Any = dist
    any_dist.all_gather_object = _same
    any_vision: Any = vision
    any_vision.places, any_vision.pack = _real(vision.places), _real(vision.pack)
    known = np.stack([row.segments for row in rows])
    tensor: Any = Tensor
    tensor.numpy = _known(Tensor.numpy, known if phase.document_mask else np.minimum(known, 0))


def _same(found: list[Any], own: Any, group: Any = None) -> None:
    """Other ranks say what this one says."""
    found[:] = [own] * len(found)


@contextlib.contextmanager
def _coalescing(*_: Any, **__: Any) -> Iterator[Any]:
    yield SimpleNamespace(wait=lambda: None)


def _real(call: Callable[..., Any]) -> Callable[..., Any]:
    """Called as usual: the host's own numbers are no fakes."""

    def called(*args: Any) -> Any:
        with unset_fake_temporarily():
            return call(*args)

    return called


def _known(usual: Callable[..., Any], segments: Any) -> Callable[..., Any]:
    """Segments that came through a checkpoint are fakes; all that is read of one on the host are they."""

    def numpy(self: Tensor, *args: Any, **given: Any) -> Any:
        if not isinstance(self, FakeTensor):
            return usual(self, *args, **given)
        if self.dtype != torch.int32 or tuple(self.shape) != segments.shape:
            raise RuntimeError(f"{self.dtype} {list(self.shape)} on {self.device} is read on the host")
        return segments

    return numpy


def _typed(usual: Callable[..., Any]) -> Callable[..., Any]:
    def typed(self: Tensor, *args: Any, **given: Any) -> Any:
        """Core's optimizer compares names of types."""
        found = usual(self, *args, **given)
        if args or given or self.device.type != "cuda" or "cuda" in found:
            return found
        return found.replace("torch.", "torch.cuda.")

    return typed


def _made(usual: Callable[..., Any]) -> Callable[..., Any]:
    def tensor(data: Any, *args: Any, device: Any = None, **given: Any) -> Tensor:
        """A tensor from numbers; one on the GPU has their shape alone."""
        found: Tensor = usual(data, *args, **given)
        if device is None or (not isinstance(device, int) and torch.device(device).type == "cpu"):
            return found
        return torch.empty(found.shape, dtype=found.dtype, device="cuda")

    return tensor


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As `nn.Module._apply`, with new parameters: fakes cannot take over each other's data."""
    for child in self.children():
        child._apply(fn)
    for table in (self._parameters, self._buffers):
        for name, old in list(table.items()):
            if old is None:
                continue
            with torch.no_grad():
                new = fn(old)
            if (new.dtype, new.device) == (old.dtype, old.device):
                continue
            if table is self._parameters:
                new = nn.Parameter(new, old.requires_grad)
                marks = {key: one for key, one in vars(old).items() if key in MARKS}
                new.__dict__.update(marks)
            table[name] = new
    return self


# What Core and we write on parameters.
MARKS = {
    "allreduce", "is_embedding_or_output_parameter", "is_embedding_parameter", "partition_dim", "partition_stride",
    "sequence_parallel", "shared", "shared_embedding", "tensor_model_parallel",
}  # fmt: skip


def _evenly(stage: Any, phase: Any) -> Callable[..., Any]:
    """Counts of tokens that are moved to the host: every rank and every expert has as many."""
    how = stage.execution.parallel
    active = next((one.active_experts for one in stage.modules.values() if hasattr(one, "active_experts")), 0)
    tokens = phase.micro_batch * phase.context // how.cp // how.tp * active

    def moved(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        if not isinstance(tensor, Tensor) or tensor.device.type != "cuda":
            return tensor
        if not as_numpy:
            return torch.empty(tensor.shape, dtype=torch.int64)
        return np.full(tuple(tensor.shape), tokens // tensor.numel(), dtype=np.int64)

    return moved


def _sorted(x: Tensor, sizes: Any, order: Tensor, probs: Tensor | None = None, fused: bool = False) -> Any:
    """Core's sorting by expert and rank, of pieces of equal size."""
    if order.device.type != "cpu":
        raise RuntimeError("the order of pieces is read from the GPU")
    count = int(np.prod(sizes.shape))
    pieces = torch.cat(x.split(len(x) // count)[::-1])
    return pieces, None if probs is None else torch.cat(probs.split(len(probs) // count)[::-1])
