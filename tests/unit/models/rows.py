"""Documents of a batch, from tensors of a test."""

import torch
from torch import Tensor

from stages.models.documents import Documents

CPU = torch.device("cpu")


def documents(segments: Tensor) -> Documents:
    """Of segments int32 [B, T]."""
    return Documents(segments.numpy(), CPU)
