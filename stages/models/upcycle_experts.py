"""A model with routed experts from a dense one: each expert a copy of the feed-forward part, routers drawn at random.

Sparse upcycling (arXiv 2212.05055, figure 1). Experts are stacked here, `mlp.experts.gate_proj` [E, F, D], and each is
`mlp.gate_proj.weight` [F, D] of the parent. Routers (`mlp.gate`) are the only tensors that the parent has nothing for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from stages.errors import UserError

_STACK = re.compile(r"(?P<head>.*\.mlp)\.experts\.(?P<matrix>gate_proj|up_proj|down_proj)(?P<tail>\.\w+)?")
_ROUTER = re.compile(r".*\.mlp\.gate\..*")


def upcycle(parent: Mapping[str, Tensor], child: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The child's weights; `child` are those that a fresh start draws, of which routers are kept.

    Raises UserError where the parent has nothing for one that is no router's, or one of another shape.
    """
    state = {}
    for name, drawn in child.items():
        if _ROUTER.fullmatch(name) or not drawn.numel():  # shared experts of no width
            state[name] = drawn
            continue
        source = source_name(name)
        found = parent.get(source)
        wanted = drawn.shape if source == name else drawn.shape[1:]
        if found is None or found.shape != wanted:
            there = "nothing" if found is None else f"a tensor of shape {list(found.shape)}"
            raise UserError(f"upcycle: {name} {list(drawn.shape)}: the parent has {there} as {source}")
        state[name] = found.expand(drawn.shape).clone()
    return state


def moments(
    parent: Mapping[str, Tensor], module: str, shapes: Mapping[str, torch.Size], step: str
) -> dict[str, Tensor]:
    """The optimizer's state of a module, "<module>.<parameter>.<moment>": moments follow the weights that they are of.

    `shapes` are those of the child's parameters. An expert takes the moments of the feed-forward part that it is a copy
    of; a router, which nothing has moved yet, has zeros of the kinds that the matrices of its layer have. The count of
    steps, `step`, is the parent's.
    """
    counted = f"{module}.{step}"
    state = {counted: parent[counted].clone()} if counted in parent else {}
    for name, shape in shapes.items():
        router = _ROUTER.fullmatch(name) is not None
        beside = name.replace(".mlp.gate.", ".mlp.gate_proj.") if router else source_name(name)
        for kind in sorted(_kinds(parent, f"{module}.{beside}.")):
            source = parent[f"{module}.{beside}.{kind}"]
            zeros = torch.zeros(shape, dtype=source.dtype)
            state[f"{module}.{name}.{kind}"] = zeros if router else source.expand(shape).clone()
    return state


def _kinds(state: Iterable[str], of: str) -> Iterator[str]:
    return (name.removeprefix(of) for name in state if name.startswith(of))


def source_name(name: str) -> str:
    """The parent's name of a tensor, or of a moment of one."""
    stack = _STACK.fullmatch(name)
    return name if stack is None else f"{stack['head']}.{stack['matrix']}.weight{stack['tail'] or ''}"


def apart(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A moment under the names that it is compared under: one for each expert; none for a router's that is zero."""
    stack = _STACK.fullmatch(name)
    if stack is not None:
        head, matrix, tail = stack["head"], stack["matrix"], stack["tail"] or ""
        for expert, one in enumerate(tensor.unbind()):
            yield f"{head}.experts.{expert}.{matrix}.weight{tail}", one
    elif not _ROUTER.fullmatch(name) or bool(tensor.any()):
        yield name, tensor
