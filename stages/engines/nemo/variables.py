"""The environment variables of the configuration, set before the libraries that read them begin.

Bridge's own `pretrain` sets them; the loop here is another. Never executed on a GPU, where alone there are any.
"""

from __future__ import annotations

import os

from stages.engines.nemo.config import environment
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import fingerprint


def set_all(stage: Stage) -> None:
    """Set them. Raises UserError where one has another value already.

    The workspace of cuBLAS has other values that are as good: `stages.train.determinism` looks at that.
    """
    for name, value in environment(stage).items():
        found = os.environ.setdefault(name, value)
        if found != value and name != fingerprint.CUBLAS[0]:
            raise UserError(
                f"environment: {name}={found}; allowed with `execution: {{determinism: exact}}` on the NeMo engine: "
                f"{value}. Unset it, or write `determinism: fast`."
            )
