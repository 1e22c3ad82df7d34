"""Environment variables that Megatron reads, checked and set before the libraries that read them begin.

Those of the configuration Bridge's own `pretrain` sets; the loop here is another. There are any on a GPU alone, where
they were never executed.
"""

from __future__ import annotations

import os
import sys

from stages.engines.nemo.config import environment
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import fingerprint

# TransformerEngine's attention, which is not used here: Core sets each to 0, and fails on another value.
ATTENTION = ("NVTE_FLASH_ATTN", "NVTE_FUSED_ATTN", "NVTE_UNFUSED_ATTN")


def set_all(stage: Stage) -> None:
    """Set them. Raises UserError where one has another value already.

    The workspace of cuBLAS has other values that are as good: `stages.train.determinism` looks at that.
    """
    if sys.flags.optimize:
        raise UserError(
            f"environment: PYTHONOPTIMIZE, or python -O, at level {sys.flags.optimize}; allowed on the NeMo engine: "
            "neither, since they leave out checks of Megatron's. Unset it."
        )
    for name in ATTENTION:
        if (found := os.environ.setdefault(name, "0")) != "0":
            raise UserError(
                f"environment: {name}={found}; allowed on the NeMo engine: 0, since its attention is not "
                "TransformerEngine's. Unset it."
            )
    for name, value in environment(stage).items():
        found = os.environ.setdefault(name, value)
        if found != value and name != fingerprint.CUBLAS[0]:
            raise UserError(
                f"environment: {name}={found}; allowed with `execution: {{determinism: exact}}` on the NeMo engine: "
                f"{value}. Unset it, or write `determinism: fast`."
            )
