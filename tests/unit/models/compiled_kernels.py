"""Compile Triton's kernels for an H100, without one: test_triton.py runs this file in a process of its own.

It prints, as JSON, how often each kernel has which instruction that reads or writes memory, at Llama 3.1 8B's sizes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from stages.models.ops import triton_forms as forms
from stages.models.ops import triton_kernels as kernels

ROTATE = {"SIGN": 1, "HEADS": 32, "PAIRS": 64, "AT_ONCE": forms.HEADS, "LANES": 64, "x_pair": 1, "out_pair": 1}
LOSS = {"WORDS": 128_256, "BLOCK": forms.WORDS}
KERNELS: dict[str, tuple[object, Mapping[str, object], int]] = {
    "silu_mul": (kernels.silu_mul, {"BLOCK": forms.AT_ONCE}, 4),
    "silu_mul_backward": (kernels.silu_mul_backward, {"BLOCK": forms.AT_ONCE}, 4),
    "rotate": (kernels.rotate, ROTATE, 4),
    "softmax_rows": (kernels.softmax_rows, {**LOSS, "SLOPES": True}, forms.WARPS),
    "softmax_rows, losses alone": (kernels.softmax_rows, {**LOSS, "SLOPES": False, "slopes": None}, forms.WARPS),
}
TYPES = {"logits": "*fp32", "losses": "*fp32", "labels": "*i64", "cos": "*fp32", "sin": "*fp32"}
NUMBERS = re.compile(r"numbers|positions|x_\w+|table_\w+|out_\w+")


def found(kernel: object, constants: Mapping[str, object], warps: int) -> Counter[str]:
    names = kernel.arg_names  # type: ignore[attr-defined]
    types = {
        name: "constexpr" if name in constants else "i32" if NUMBERS.fullmatch(name) else TYPES.get(name, "*bf16")
        for name in names
    }
    aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if name not in constants}
    source = ASTSource(kernel, types, dict(constants), aligned)
    made = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
    assert made.asm["cubin"]
    return Counter(re.findall(r"\b((?:ld|st)\.(?:global|local)\S*)", made.asm["ptx"]))


if __name__ == "__main__":
    print(json.dumps({name: found(*given) for name, given in KERNELS.items()}))
