"""Our parameter names to transformers'. They differ for one thing only: routed experts are stacked here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_STACKED = re.compile(r"(?P<head>.*\.mlp\.experts)\.(?P<matrix>gate_proj|up_proj|down_proj)")
_SINGLE = "{head}.{expert}.{matrix}.weight"


def hf_names(name: str, tensor: Tensor) -> list[str]:
    """The names in transformers of one tensor of ours: one per expert for a stack [E, out, in], else the same name."""
    if match := _STACKED.fullmatch(name):
        return [_SINGLE.format(**match.groupdict(), expert=expert) for expert in range(len(tensor))]
    return [name]


def to_hf(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under transformers' names: the same tensors, and views of those that are stacked."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        names = hf_names(name, tensor)
        result.update(zip(names, tensor.unbind(), strict=True) if _STACKED.fullmatch(name) else {name: tensor})
    return result
