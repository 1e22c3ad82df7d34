"""The fused-op seam: pure functions that pick NVIDIA Apex where it is installed and the tensors are on CUDA.

Everything else runs on torch's own kernels. The Apex branches have never been executed on the hardware they are
for; `stages.models.ops.backend.describe` says which branch a machine takes.
"""

from stages.models.ops.backend import describe
from stages.models.ops.functional import cross_entropy, global_norm, rms_norm, rotate, silu_mul
from stages.models.ops.head import weighted_head_loss

__all__ = ["cross_entropy", "describe", "global_norm", "rms_norm", "rotate", "silu_mul", "weighted_head_loss"]
