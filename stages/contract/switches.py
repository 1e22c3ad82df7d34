"""Environment variables by which libraries choose other kernels, so that numbers depend on them."""

from __future__ import annotations

import re

# Variables by which a user makes ATen, MKL, oneDNN, OpenBLAS, the C library, NVIDIA's libraries or the compilers of a
# GPU's kernels choose other kernels. All of a library's variables count, known or not, except those that set what it
# prints, where it keeps files or what the engine sets itself (threads); so a variable of a later release counts too.
# None of NCCL's: the torch engine has it move numbers and add none but integers.
SWITCHES = re.compile(
    r"ATEN_\w+|MKL_\w+|(ONE)?DNN[L_]\w*|OPENBLAS_\w+|KMP_DETERMINISTIC_REDUCTION|GLIBC_TUNABLES|LD_PRELOAD"
    r"|TORCH_(ALLOW_TF32\w*|\w*MKLDNN\w*|\w*BLAS\w*|\w*SDPA?\w*|CUDNN_\w+|LINEAR_\w+)"
    r"|PYTORCH_TUNABLEOP_\w+|DISABLE_(ADDMM_CUDA_LT|LLVM_OPT|PTXAS_OPT|MMA_\w+)|PTXAS_OPTIONS|LLVM_PASS_PLUGIN_PATH"
    r"|NVIDIA_TF32_OVERRIDE|CU(BLAS|BLASLT|DNN)_\w+|CUDA_FORCE_PTX_JIT"
    r"|TRITON_\w+|CUTE_DSL_\w+|FLASH_ATTENTION_(ARCH|NUM_SMS)"
)
NO_SWITCH = re.compile(
    r"\w*(VERBOSE|LOG|PRINT|DUMP|CACHE|KEEP|NUM_THREADS|DYNAMIC)\w*|TRITON_(HOME|\w*REDIS\w*|PROTON_\w+|DISABLE_LINE_INFO)"
)


def is_switch(name: str) -> bool:
    """Whether a variable of this name makes a library choose other kernels."""
    return SWITCHES.fullmatch(name) is not None and NO_SWITCH.fullmatch(name) is None
