"""Environment variables by which libraries choose other kernels, so that numbers depend on them."""

from __future__ import annotations

import re

# Variables by which a user makes ATen, MKL, oneDNN, OpenBLAS, the C library or NVIDIA's libraries choose other kernels.
# All of a library's variables count, known or not, except those that set what it prints or what the engine sets itself
# (threads); so a variable of a later release counts too.
SWITCHES = re.compile(
    r"ATEN_\w+|MKL_\w+|(ONE)?DNN[L_]\w*|OPENBLAS_\w+|KMP_DETERMINISTIC_REDUCTION|GLIBC_TUNABLES|LD_PRELOAD"
    r"|TORCH_(ALLOW_TF32\w*|\w*MKLDNN\w*|\w*BLAS\w*|\w*SDPA?\w*)|NVIDIA_TF32_OVERRIDE|CU(BLAS|BLASLT|DNN)_\w+"
)
NO_SWITCH = re.compile(r"\w*(VERBOSE|LOG|NUM_THREADS|DYNAMIC)\w*")


def is_switch(name: str) -> bool:
    """Whether a variable of this name makes a library choose other kernels."""
    return SWITCHES.fullmatch(name) is not None and NO_SWITCH.fullmatch(name) is None
