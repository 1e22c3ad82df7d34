"""Real (tiny) models on packed rows: documents are blind to each other, micro-batches are invisible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.contract import ledger
from stages.engines.torch_trainer import freeze
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.train import objectives
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.replicated import gather
from tests.unit.models.rows import documents
from tests.unit.train import tiny

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 50), min_size=2, max_size=5)
fewer = settings(max_examples=settings().max_examples // 4)


def hidden(module: Any, tokens: torch.Tensor, positions: torch.Tensor, segments: torch.Tensor) -> list[torch.Tensor]:
    """What the model makes of a row; of a looped one, after every loop."""
    if hasattr(module.model, "early_exit_gate"):
        return list(module(tokens, positions, documents(segments), None, loops=2)[0])
    return [module(tokens, positions, documents(segments), None)]


@pytest.fixture(scope="module", params=["next_token", "looped", "joint"])
def language_model(request: pytest.FixtureRequest) -> Any:
    return build(tiny.make(request.param))["llm"].eval()


@fewer
@given(lengths=LENGTHS, data=st.data())
def test_perturbing_a_document_changes_no_bit_of_the_others(language_model: Any, lengths: list[int], data: Any) -> None:
    which = data.draw(st.integers(0, len(lengths) - 1))
    seed = data.draw(st.integers(0, 2**31))
    segments = torch.repeat_interleave(torch.arange(len(lengths), dtype=torch.int32), torch.tensor(lengths))[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    tokens = torch.randint(0, tiny.VOCAB, segments.shape, generator=torch.Generator().manual_seed(seed))
    other = torch.where(segments == which, (tokens + 7) % tiny.VOCAB, tokens)
    apart = segments[0] != which
    with torch.no_grad():
        rows = [hidden(language_model, words, positions, segments) for words in (tokens, other)]
    for before, after in zip(*rows, strict=True):
        assert torch.equal(before[:, apart], after[:, apart])
        assert not torch.equal(before[:, ~apart], after[:, ~apart])


class Ragged(tiny.Data):
    """Rows of which any number of positions is supervised, down to one in the whole step."""

    seed = 0

    def samples(self, first: int, count: int, tail: int) -> list[Any]:
        rows = super().samples(first, count, tail)
        for place, row in enumerate(rows):
            random = np.random.default_rng([self.seed, first + place])
            row.labels[random.random(len(row.labels)) < random.random()] = -100
        rows[0].labels[0] = 9
        return rows


def gradients(stage: Stage, size: int, seed: int) -> tuple[list[torch.Tensor], int]:
    made = stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"micro_batch": size}),)})
    modules = build(made)
    freeze(made, modules)
    assert made.optimizer is not None
    optimizer = Optimizer(made.optimizer, trained_slots(modules, made.trained, made.optimizer))
    data: Any = Ragged(made.phases[0], 0, "", None)
    data.seed = seed
    objective = objectives.make(made, made.phases[0], modules, data, CPU)
    return gather(optimizer, objective, ledger.step_at(made.phases[0], 0))[0], objective.supervised()


@pytest.mark.parametrize("objective", ["sft", "looped"])
@fewer
@given(seed=st.integers(0, 2**31), size=st.sampled_from([1, 2, 3]))
def test_k_micro_batches_with_ragged_masks_are_one_batch(objective: str, seed: int, size: int) -> None:
    """A micro-batch with few supervised tokens weighs what its tokens weigh, not one K-th."""
    whole, count = gradients(tiny.make(objective), 4, seed)
    parts, again = gradients(tiny.make(objective), size, seed)
    assert count == again > 0
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5)
