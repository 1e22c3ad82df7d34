"""A larger vocabulary, on tensors that are written out: old rows stay, new ones follow the rule."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from stages.models import extend
from tests.unit.train import tiny

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
# Four rows, of which the tokenizer had three: the last one filled the table up, and was never trained.
PARENT = {EMBEDDING: torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], [70.0, 80.0]]), NORM: torch.tensor([8.0, 9.0])}
CHILD = {EMBEDDING: torch.full((6, 2), 0.5), NORM: torch.zeros(2)}


@pytest.mark.parametrize(("rule", "new"), [("mean", [3.0, 5.0]), ("fresh", [0.5, 0.5])])
def test_what_the_parent_has_no_token_for_is_new(rule: Literal["mean", "fresh"], new: list[float]) -> None:
    found = extend.extended(PARENT, CHILD, 3, rule)
    assert found[EMBEDDING].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 9.0], new, new, new]
    assert found[NORM].tolist() == [8.0, 9.0]
    found[NORM].zero_()
    assert PARENT[NORM].any(), "the child's tensors are its own"


def test_the_mean_is_taken_in_fp64() -> None:
    """In fp32 the sum of these would be 0."""
    rows = torch.tensor([[2.0**40], [1.0], [-(2.0**40)]])
    found = extend.extended({EMBEDDING: rows}, {EMBEDDING: torch.zeros(4, 1)}, 3, "mean")
    assert found[EMBEDDING][3].item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_columns_are_averaged_each_by_itself(threads: int) -> None:
    """The NeMo engine takes a table's mean some columns at a time."""
    rows, before = torch.randn(5000, 70, generator=torch.Generator().manual_seed(0)) * 1e3, torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = extend.mean(rows)
        assert all(
            torch.equal(extend.mean(rows[:, at : at + 9].contiguous()), whole[at : at + 9]) for at in range(0, 70, 9)
        )
    finally:
        torch.set_num_threads(before)


def test_moments_of_new_rows_are_zero_and_others_go_on() -> None:
    state = {
        f"llm.{HEAD}.exp_avg": torch.tensor([[1.0], [2.0], [3.0], [70.0]]),
        f"llm.{HEAD}.step": torch.tensor([5.0, 6.0, 7.0]),  # no row for each token
        f"llm.{NORM}.exp_avg": torch.tensor([4.0]),
        "llm.step": torch.tensor(9),
    }
    model = tiny.LLAMA.model_copy(update={"vocab": 5})
    found = extend.moments(state, model, 3)
    assert found[f"llm.{HEAD}.exp_avg"].tolist() == [[1.0], [2.0], [3.0], [0.0], [0.0]]
    assert all(found[name] is state[name] for name in state if not name.endswith(f"{HEAD}.exp_avg"))


@pytest.mark.parametrize(
    ("name", "table"),
    [
        (EMBEDDING, True), (HEAD, True), (f"llm.{EMBEDDING}.exp_avg_sq", True), (NORM, False),
        ("model.lm_head.weights", False), ("other_lm_head.weight", False),
    ],
)  # fmt: skip
def test_which_tensors_have_a_row_for_each_token(name: str, table: bool) -> None:
    assert extend.is_table(name) is table


def test_rows_that_are_handed_over() -> None:
    tensors: dict[str, Tensor] = {**PARENT, HEAD: torch.zeros(4)}
    assert {name: len(one) for name, one in extend.kept(tensors, 3).items()} == {EMBEDDING: 3, NORM: 2, HEAD: 4}
    assert {name: len(one) for name, one in extend.kept(tensors, None).items()} == {EMBEDDING: 4, NORM: 2, HEAD: 4}
