"""A merge of equal models is that model; of others it is the average, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.errors import UserError
from stages.models.merge import merge

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)
parts = st.lists(st.integers(1, 10**6), min_size=2, max_size=6)


class Model(nn.Module):
    """A weight, and a count beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def taking(self, values: list[float], count: int = 7) -> Callable[[], None]:
        def load() -> None:
            with torch.no_grad():
                self.weight.copy_(torch.tensor(values))
                self.count.fill_(count)

        return load


def merged(models: list[list[float]], given: list[int]) -> torch.Tensor:
    module, total = Model(), sum(given)
    merge(module, [("m", Fraction(part, total), module.taking(one)) for part, one in zip(given, models, strict=True)])
    assert int(module.count) == 7
    return module.weight.detach().clone()


@given(st.lists(numbers, min_size=4, max_size=4), parts)
def test_equal_models_are_their_own_merge(values: list[float], given: list[int]) -> None:
    assert torch.equal(merged([values] * len(given), given), torch.tensor(values))


@given(st.data(), parts)
def test_a_merge_is_the_exact_average_rounded(data: st.DataObject, given: list[int]) -> None:
    models = [data.draw(st.lists(numbers, min_size=4, max_size=4)) for _ in given]
    found = merged(models, given)
    stored = [[Fraction(float(np.float32(value))) for value in one] for one in models]
    for place in range(4):
        column = [one[place] for one in stored]
        exact = sum((value * part for value, part in zip(column, given, strict=True)), Fraction(0)) / sum(given)
        error = 2 ** (-24) * abs(exact) + 2 ** (-48) * max(map(abs, column)) + Fraction(1, 2**149)
        assert abs(Fraction(float(found[place])) - exact) <= error


def test_whole_numbers_that_differ_are_refused() -> None:
    module = Model()
    models = [("a", Fraction(1, 2), module.taking([0.0] * 4, 1)), ("b", Fraction(1, 2), module.taking([0.0] * 4, 2))]
    with pytest.raises(UserError, match="count of b differs"):
        merge(module, models)
