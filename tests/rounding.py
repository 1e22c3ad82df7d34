"""How far two right computations in fp32 may lie apart: bounds that follow from the sums, not from one machine.

A processor may add the terms of a sum in any order and may or may not fuse a product with an addition, so a tolerance
that was read off one machine fails on another. Two bounds are used instead. Both rest on Higham and Mary, "A new
approach to probabilistic rounding error analysis" (SIAM J. Sci. Comput. 41, 2019), theorem 2.4: with rounding errors
that are random and independent, a sum of n products differs from the exact one by at most lambda sqrt(n) u times the
sum of the products' absolute values, with u the unit roundoff, except with probability 2 exp(-lambda^2 / 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

UNIT = 2.0**-24  # of fp32, rounded to nearest
BF16 = 2.0**-8  # of bf16
STORED = {torch.float32: 0.0, torch.bfloat16: 2.0**-8}  # what storing a result in a type adds, relative to it
LAMBDA = 6.0  # exceeded with a probability below 4e-8 for each sum


def assert_sums_close(found: Tensor, exact: Tensor, magnitude: Tensor, terms: int, stored: int = 1) -> None:
    """Every element of `found` is within the bound of `exact` (fp64), a sum of `terms` products, added up in fp32.

    `magnitude` is the same sum over absolute values. All three have one shape. In bf16, the inputs are what they are
    and `stored` results are rounded to bf16 on the way, the last one among them.
    """
    assert exact.dtype == torch.float64
    allowed = (LAMBDA * math.sqrt(terms) * UNIT + stored * STORED[found.dtype]) * magnitude.double()
    used = ((found.double() - exact).abs() / allowed.clamp(min=torch.finfo(torch.float64).tiny)).flatten()
    assert bool((used <= 1).all()), (
        f"an element is {used.max():.3g} times as far from the exact sum as {terms} roundings explain: "
        f"{_at(int(used.argmax()), found, exact, magnitude)}; {int((used > 1).sum())} of {used.numel()} are too far, "
        f"the middle one uses {used.median():.2g} of what is allowed"
    )


def _at(worst: int, *tensors: Tensor) -> str:
    found, exact, magnitude = (float(tensor.expand_as(tensors[0]).flatten()[worst]) for tensor in tensors)
    return (
        f"number {worst} of {list(tensors[0].shape)} is {found:.9g}, exactly {exact:.9g}, of magnitude {magnitude:.4g}"
    )


@torch.no_grad()
def noise(model: nn.Module, outputs: Callable[[], Tensor], terms: int, unit: float = UNIT) -> float:
    """How far `outputs()` moves, at most, where every weight of `model` is off by what rounding amounts to.

    The computed inner product of n terms is the exact one of factors that are off by at most sqrt(n) u each, up to
    lambda: so the outputs of another right implementation lie about as far from these as those of perturbed weights
    do. `terms` is the length of the model's longest sum. Weights are put back.

    In bf16 sums are in fp32, but both factors and the result of every product are rounded: three times by its `unit`.
    """
    generator = torch.Generator().manual_seed(0)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before, moved = outputs(), 0.0
    for _ in range(4):
        for parameter in model.parameters():
            signs = torch.randint(0, 2, parameter.shape, generator=generator) * 2 - 1
            parameter.mul_(1 + signs * math.sqrt(terms) * unit)
        moved = max(moved, (outputs() - before).abs().max().item())
        model.load_state_dict(kept)
    return moved
