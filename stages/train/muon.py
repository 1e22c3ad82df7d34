"""Muon as Moonlight uses it (arXiv 2502.16982, eq. 4 and section 2.2).

W <- W - lr * (0.2 * sqrt(max(A, B)) * O + decay * W), where O is the orthogonalised Nesterov momentum of the
gradient of an A x B matrix. Matrices of the same shape are orthogonalised together in one batch. Of several ranks,
each has matrices of its own, whole ones; a batch's size does not change a matrix's bits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor


def as_matrices(tensor: Tensor) -> Tensor:
    """View a parameter as a stack [N, A, B]: a matrix, stacked experts [E, A, B], or a kernel [out, in, h, w]."""
    if tensor.ndim == 2:
        return tensor.unsqueeze(0)
    if tensor.ndim == 3:
        return tensor
    if tensor.ndim == 4:
        return tensor.flatten(1).unsqueeze(0)
    raise ValueError(f"no matrices in a tensor of shape {tuple(tensor.shape)}")


def newton_schulz(matrices: Tensor, coefficients: tuple[float, float, float], steps: int) -> Tensor:
    """Bring the singular values of every matrix of [N, A, B] near 1 by the quintic iteration of section 2.1.

    X0 = M / (||M||_F + 1e-7); X <- a X + (b X X^T + c (X X^T)^2) X. In bfloat16 on CUDA, as published; in float32 on a
    CPU, where bfloat16 is emulated and gains nothing. A <= B is assumed (transpose a tall matrix first).
    """
    a, b, c = coefficients
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.to(matrices.dtype)


def muon_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    momenta: Sequence[Tensor],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    coefficients: tuple[float, float, float],
    steps: int,
    update_rms: float,
) -> None:
    """Update matrices and their momenta in place; decay is the caller's."""
    if not parameters:
        return
    stacks = [as_matrices(direction) for direction in directions(gradients, momenta, momentum, nesterov)]
    updates = orthogonalised(stacks, coefficients, steps)
    for parameter, stack, update in zip(parameters, stacks, updates, strict=True):
        parameter.add_(update.reshape(parameter.shape), alpha=step_size(stack, lr, update_rms))


def directions(
    gradients: Sequence[Tensor], momenta: Sequence[Tensor], momentum: float, nesterov: bool
) -> Sequence[Tensor]:
    """Take the gradients into the momenta, in place; what is to be orthogonalised then."""
    torch._foreach_mul_(momenta, momentum)
    torch._foreach_add_(momenta, gradients)
    return torch._foreach_add(gradients, momenta, alpha=momentum) if nesterov else momenta


def step_size(stack: Tensor, lr: float, update_rms: float) -> float:
    """The factor of an orthogonalised update of [N, A, B]: -lr * 0.2 * sqrt(max(A, B)), as published."""
    return -lr * update_rms * math.sqrt(max(stack.shape[1:]))


def orthogonalised(stacks: Sequence[Tensor], coefficients: tuple[float, float, float], steps: int) -> list[Tensor]:
    """Newton-Schulz of stacks [N, A, B], those of one shape, turned if need be, in one batch.

    On CUDA each stack is a batch of its own: cuBLAS chooses a kernel by the size of a batch too, and other ranks have
    other matrices.
    """
    shapes: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for i, stack in enumerate(stacks):
        rows, columns = stack.shape[1:]
        shapes[min(rows, columns), max(rows, columns), i if stack.is_cuda else 0].append(i)
    found = list(stacks)
    for (_, longer, _), members in shapes.items():
        wide = [stacks[i] if stacks[i].shape[2] == longer else stacks[i].mT for i in members]
        orthogonal = newton_schulz(torch.cat(wide), coefficients, steps)
        for i, update in zip(members, orthogonal.split([len(stack) for stack in wide]), strict=True):
            found[i] = update if stacks[i].shape[2] == longer else update.mT
    return found


def cost(matrix: Tensor) -> float:
    """What a parameter's Newton-Schulz takes, relative to another's: multiplications of X X^T."""
    stack = as_matrices(matrix)
    return len(stack) * min(stack.shape[1:]) * stack[0].numel()
