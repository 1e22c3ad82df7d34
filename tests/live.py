"""What a computation on a CPU holds, tensor by tensor: the bytes alive at once, and the largest that was made.

Every operation passes through a TorchDispatchMode, those of the backward pass too; storages that were there before are
not counted, nor what a kernel takes for itself while it runs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Counts bytes of storages that operations within the block made: `now`, `peak` and the `largest` storage."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and count what it made."""
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor) and id(given.untyped_storage()) not in self._known:
                self._watch(given.untyped_storage(), made=False)
        result = func(*args, **(kwargs or {}))
        for found in tree_leaves(result):
            if isinstance(found, Tensor):
                self._watch(found.untyped_storage(), made=True)
        return result

    def _watch(self, storage: torch.UntypedStorage, made: bool) -> None:
        name = id(storage)
        if name in self._known:
            return
        size = storage.nbytes() if made else 0

        def gone(_: Any) -> None:
            del self._known[name]
            self.now -= size

        self._known[name] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)
        self.largest = max(self.largest, size)
