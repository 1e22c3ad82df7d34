"""Which Megatron this engine is for: each field of its configuration is written out, and parts of Core are replaced.

Another release may have a field more, on by default, that nothing here sets or compares; or other files in a
checkpoint. requirements-nemo.txt has the same versions (tests/unit/engines/test_nemo_pins.py).
"""

from __future__ import annotations

import sys

from stages.errors import UserError

VERSIONS = {"megatron.core": "0.19.2", "megatron.bridge": "0.6.2"}


def check(ref: str) -> None:
    """Raise UserError where what was imported is another release. Behind "+" is at most a commit."""
    for module, wanted in VERSIONS.items():
        found = str(getattr(sys.modules[module], "__version__", "unknown"))
        if found.partition("+")[0] != wanted:
            raise UserError(
                f"{ref}: engine nemo: {module} in {sys.executable} is {found}; allowed: {wanted}, every field of which "
                "this engine sets. `make nemo` makes an environment that has it; in a container, install the versions "
                "of requirements-nemo.txt."
            )
