"""How Megatron lays out a parameter, as rules: which of our tensors it is made of, and how ranks divide them.

Nothing here imports megatron. A rule is for all layers: {layer} stands for their numbers in the whole model, however
pipeline parallelism numbers them on a rank. Every rule works on tensors of any content: weights, gradients and moments
go the same way, and no bit changes on it.

To add a family, write names_<family>.py with a function that gives its rules, and enter it in `names.rules`. A test in
tests/nemo then shows that they cover the model: what Megatron builds from the family's spec has no parameter without a
rule, and no tensor of ours is left without a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

LAYER = "{layer}"
Divided = Literal["tensor", "expert"]
"""Which parallel ranks divide a tensor along a rule's `cut`."""


class Form(Protocol):
    """How several of our tensors are one in Megatron; each rank's part of it is made of its parts of ours alone."""

    def split(self, fused: Tensor) -> list[Tensor]:
        """A rank's part of Megatron's tensor -> its parts of ours, in the order of the rule's names."""
        ...

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The reverse of `split`."""
        ...


@dataclass(frozen=True)
class Alone:
    """One tensor of ours."""

    def split(self, fused: Tensor) -> list[Tensor]:
        """The tensor itself."""
        return [fused]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The tensor itself."""
        (only,) = parts
        return only


@dataclass(frozen=True)
class Below:
    """Matrices of equal shape below each other: gate above up in `linear_fc1`."""

    count: int

    def split(self, fused: Tensor) -> list[Tensor]:
        """Shape [count * N, H] -> count times [N, H], views."""
        return list(fused.chunk(self.count))

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Shape count times [N, H] -> [count * N, H]."""
        return torch.cat(list(parts))


@dataclass(frozen=True)
class QueryGroups:
    """`linear_qkv`: for each head of keys its heads of queries, then the key, then the value."""

    queries: int  # heads of queries for each head of keys
    head_dim: int

    def split(self, fused: Tensor) -> list[Tensor]:
        """Shape [G * (queries + 2) * head_dim, H] -> q [G * queries * head_dim, H], k and v [G * head_dim, H]."""
        groups = fused.unflatten(0, (-1, self.queries + 2, self.head_dim))
        q, k, v = groups.split((self.queries, 1, 1), dim=1)
        return [part.flatten(0, 2) for part in (q, k, v)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The reverse of `split`."""
        q, k, v = (
            part.unflatten(0, (-1, n, self.head_dim)) for part, n in zip(parts, (self.queries, 1, 1), strict=True)
        )
        return torch.cat((q, k, v), dim=1).flatten(0, 2)


ALONE = Alone()


@dataclass(frozen=True)
class Rule:
    """Megatron's parameters of one kind.

    `pattern`: their name without the wrappers' "module."; `names`: ours, "<module>.<parameter>" as the torch engine has
    it. `cut`: the dimension along which ranks divide each of ours, in the order of the ranks; None where each rank has
    all of it. `by`: those ranks; expert-parallel ones have whole matrices, some of a stack's [E, A, B].
    """

    pattern: str
    names: tuple[str, ...]
    cut: int | None = None
    form: Form = ALONE
    by: Divided = "tensor"


@dataclass(frozen=True)
class Placed:
    """One of Megatron's parameters in the whole model: its rule, and the names of our tensors with their numbers."""

    key: str
    rule: Rule
    targets: tuple[str, ...]

    @property
    def module(self) -> str:
        """The module of ours that the tensors are of."""
        return self.targets[0].partition(".")[0]


class Rules:
    """The rules of one model."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(_compiled(rule.pattern), rule) for rule in rules]

    def place(self, key: str) -> Placed | None:
        """What a parameter is by its name, with the whole model's numbers in it; None where no rule knows it."""
        for pattern, rule in self._rules:
            if match := pattern.fullmatch(key):
                return Placed(key, rule, tuple(_numbered(name, match) for name in rule.names))
        return None


def region(shape: Sequence[int], cut: int | None, part: int) -> tuple[slice, ...]:
    """Where the part [shape] of rank `part` lies in the whole tensor."""
    whole = [slice(0, size) for size in shape]
    if cut is not None:
        whole[cut] = slice(part * shape[cut], (part + 1) * shape[cut])
    return tuple(whole)


def whole_shape(shape: Sequence[int], cut: int | None, parts: int) -> tuple[int, ...]:
    """Shape of the tensor of which a rank of `parts` has [shape]."""
    return tuple(size * parts if i == cut else size for i, size in enumerate(shape))


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(re.escape(LAYER), "(?P<layer>[0-9]+)", 1))


def _numbered(name: str, match: re.Match[str]) -> str:
    return name.replace(LAYER, match["layer"]) if "layer" in match.re.groupindex else name
