"""Megatron on a machine without GPUs: everything that Core and Bridge ask of CUDA, answered for the CPU.

For tests and miniatures. Nothing here runs where the stage's device is "cuda". The numbers are those of torch's CPU
kernels and of gloo; what is answered is where tensors are made, that streams and events have nothing to wait for, and
that the random state is the CPU's.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stages.engines.nemo import absent

CPU = torch.device("cpu")
NOTHING = ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats", "set_stream", "ipc_collect")
NO_BYTES = ("max_memory_allocated", "memory_allocated", "max_memory_reserved", "memory_reserved")
DYNAMO = "TORCHDYNAMO_DISABLE"  # environment variable; the first MoE step would compile for 18 s

_installed: list[TorchFunctionMode] = []


def install() -> None:
    """Prepare this process for Megatron on a CPU, and import it. Again is nothing, in a forked child too.

    Raises ModuleNotFoundError without Megatron.
    """
    if _installed:
        return
    os.environ[DYNAMO] = "1"
    absent.imported()
    _answer_cuda()
    _answer_megatron()
    mode = _OnHost()
    mode.__enter__()  # for as long as the process lives
    _installed.append(mode)


class _OnHost(TorchFunctionMode):
    """What is to be made on, or moved to, a GPU stays on the host."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if "device" in given:
            given["device"] = _host(given["device"])
        if given.get("pin_memory"):
            given["pin_memory"] = False
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and isinstance(args[1], str | torch.device):
            args = (args[0], _host(args[1]), *args[2:])
        if func is torch.Tensor.type and len(args) == 1 and not given:  # Core's optimizer compares names of types
            return func(*args).replace("torch.", "torch.cuda.")
        return func(*args, **given)


def _host(device: object) -> object:
    """The CPU for a GPU by name or number; any other device unchanged."""
    if device is None or isinstance(device, bool):
        return device
    return CPU if isinstance(device, int) or str(device).startswith("cuda") else device


class _Stream:
    """A stream or an event: on a CPU all work is done when its call returns."""

    def __init__(self, *_: object, **__: object) -> None:
        self.cuda_stream = 0

    def record_event(self, *_: object) -> _Stream:
        return _Stream()

    def query(self) -> bool:
        return True

    def _nothing(self, *_: object) -> None:
        return None

    wait_stream = wait_event = synchronize = record = wait = _nothing


def _answer_cuda() -> None:
    cuda: Any = torch.cuda
    cuda.is_available = lambda: True
    cuda.device_count = lambda: int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cuda.current_device = lambda: CPU
    cuda.Stream = cuda.Event = _Stream
    cuda.current_stream = cuda.default_stream = _Stream
    cuda.stream = lambda stream: contextlib.nullcontext()
    for name in NOTHING:
        setattr(cuda, name, lambda *_, **__: None)
    for name in NO_BYTES:
        setattr(cuda, name, lambda *_, **__: 0)
    cuda.memory_stats = lambda *_, **__: collections.defaultdict(int)
    cuda.manual_seed = torch.default_generator.manual_seed
    cuda.manual_seed_all = lambda seed: None  # torch.manual_seed seeds the host itself, and calls this
    cuda.get_rng_state = lambda *_, **__: torch.get_rng_state()
    cuda.set_rng_state = lambda state, *_, **__: torch.set_rng_state(state)
    cuda.get_device_capability = lambda *_: (8, 0)
    cuda.get_device_properties = lambda *_: SimpleNamespace(
        major=8, minor=0, name="cpu", total_memory=1 << 34, multi_processor_count=1
    )
    # A torch that was built for CUDA asks the driver, which is not there.
    optimizer: Any = torch.optim.Optimizer
    optimizer._accelerator_graph_capture_health_check = lambda self: None


def _answer_megatron() -> None:
    from megatron.core.tensor_parallel import random
    from megatron.core.transformer.moe import token_dispatcher

    def read(device: object = "cuda", clone: bool = False, graph_safe: bool = False) -> Tensor:
        return torch.get_rng_state()

    def write(state: Tensor, device: object = -1, graph_safe: bool = False) -> None:
        torch.set_rng_state(state)

    def on_host(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        """Where tokens go to expert-parallel ranks, Core moves the counts off a GPU, and then takes them as numbers."""
        return tensor.numpy() if as_numpy and isinstance(tensor, Tensor) else tensor

    random._get_cuda_rng_state = read
    random._set_cuda_rng_state = write
    token_dispatcher.maybe_move_tensor_to_cpu = on_host
