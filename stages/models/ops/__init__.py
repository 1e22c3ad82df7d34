"""The seam of fused operations: pure functions that pick the kernels of the device that their tensors are on.

On a GPU, NVIDIA Apex's where they are installed and torch's otherwise; on a CPU plain forms. `describe` says which
implementation a device takes. What was executed on a GPU: docs/on-gpus.md.
"""

from stages.models.ops.backend import describe
from stages.models.ops.functional import cross_entropy, gelu_mul, rms_norm, rotate, silu_mul
from stages.models.ops.head import capped, head_loss, regularised_head_loss, token_losses, weighted_head_loss
from stages.models.ops.labels import IGNORED
from stages.models.ops.multi_tensor import fused_adamw, global_norm, scale
from stages.models.ops.update import Update

__all__ = [
    "IGNORED",
    "Update",
    "capped",
    "cross_entropy",
    "describe",
    "fused_adamw",
    "gelu_mul",
    "global_norm",
    "head_loss",
    "regularised_head_loss",
    "rms_norm",
    "rotate",
    "scale",
    "silu_mul",
    "token_losses",
    "weighted_head_loss",
]
