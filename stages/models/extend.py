"""A larger vocabulary: tables of words with rows for new tokens, the rows of the old ones as they are.

Rows from the parent's number of tokens on are new. A table may have had more rows than its tokenizer had tokens
(padding up to a round number): those were never trained, so they begin like the rest of the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from stages.spec.resolved_models import Model

TABLES = ("model.embed_tokens.weight", "lm_head.weight")  # one row a token; a tied model has the first alone


def extended(
    parent: Mapping[str, Tensor], child: Mapping[str, Tensor], rows: int, rule: Literal["mean", "fresh"]
) -> dict[str, Tensor]:
    """The child's tensors: the parent's, and in tables the rows from `rows` on by the rule.

    mean: the mean of the parent's first `rows` rows, in fp64, as its own type. fresh: what is in `child`, which is as a
    fresh start draws it from the stage's seed.
    """
    state = {}
    for name, tensor in child.items():
        if name not in TABLES:
            state[name] = parent[name].clone()
            continue
        table = tensor.clone()
        table[:rows] = parent[name][:rows]
        if rule == "mean":
            table[rows:] = mean(parent[name][:rows])
        state[name] = table
    return state


def mean(rows: Tensor) -> Tensor:
    """The mean [H] of rows [n, H], in fp64, as their own type. Each column is summed by itself."""
    return rows.double().mean(0).to(rows.dtype)


def moments(parent: Mapping[str, Tensor], model: Model, rows: int) -> dict[str, Tensor]:
    """The optimizer's state of a module, "<module>.<parameter>.<moment>": nothing has moved the new rows yet."""
    vocab: int = getattr(model, "vocab")  # noqa: B009
    found = {}
    for key, tensor in parent.items():
        if is_table(key) and tensor.ndim > 1:
            table = tensor.new_zeros(vocab, tensor.shape[1])
            table[:rows] = tensor[:rows]
            found[key] = table
        else:
            found[key] = tensor
    return found


def kept(tensors: Mapping[str, Tensor], rows: int | None) -> dict[str, Tensor]:
    """Tensors of a module, of tables only the rows that are handed over; all of them where `rows` is None."""
    return {
        name: tensor if rows is None or tensor.ndim < 2 or not is_table(name) else tensor[:rows]
        for name, tensor in tensors.items()
    }


def is_table(name: str) -> bool:
    """Whether a tensor, or a moment of it, has one row for each token."""
    return any(f".{table}." in f".{name}." for table in TABLES)
