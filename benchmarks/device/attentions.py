"""Ways in which stages attend on a GPU: by torch's own kernels, and by FlashAttention 4 where it is installed.

Each takes queries [B, T, H, K], keys [B, T, G, K], values [B, T, G, K], where the documents are, and the products'
scale, as `stages.models.attention.attend` does. FlexAttention and cuDNN by its frontend were measured as well, and are
slower (results/records/gpu_attention.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from stages.models import attention, flash4
from stages.models.documents import Documents

Attend = Callable[[Tensor, Tensor, Tensor, Documents, float], Tensor]


@dataclass(frozen=True)
class Candidate:
    """A way to attend, whether it has to have the same bits in every run, and the package that it needs."""

    name: str
    attend: Attend
    exact: bool = True
    needs: str = "torch"

    def lacks(self, device: torch.device) -> str:
        """Why it cannot be measured here; "" where it can."""
        if find_spec(self.needs) is None:
            return f"{self.needs} is not installed"
        return "" if device.type == "cuda" or self.attend is attention.by_torch else "needs a GPU"


FAST = Candidate("fast by torch: cuDNN, FlashAttention 2 for documents", attention.by_torch, exact=False)
EXACT = Candidate("exact by torch: FlashAttention 2", attention.by_torch)
CANDIDATES = {  # by the part of the section: a process of its own
    "torch": (FAST, EXACT),
    "flash4": (
        Candidate("exact: FlashAttention 4", flash4.attend, needs="flash_attn"),
        Candidate("fast: FlashAttention 4", flash4.attend, exact=False, needs="flash_attn"),
    ),
}
