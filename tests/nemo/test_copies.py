"""Ranks that should have the same weights, or gradients, and have not: the stage ends, and nothing is saved of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stages.engines.nemo import copies
from stages.spec.resolved import Stage
from stages.train.ranks import Ranks
from tests.nemo import engines, parity, ranks
from tests.nemo.engines import Layout, layout
from tests.unit.train import tiny


def flipped() -> None:
    """One number of a matrix changes on one rank, after its third update."""
    from stages.engines.nemo.optimizer import Mover

    real, steps = Mover.step, [0]

    def step(self: Mover, lr: float) -> None:
        real(self, lr)
        steps[0] += 1
        if os.environ["RANK"] == "1" and steps[0] == 3:
            weight = next(one.tensor for one in self.owned if "norm" in one.placed.key)
            with torch.no_grad():
                weight[0] += 2.0**-8

    Mover.step = step  # type: ignore[method-assign]


def untied() -> None:
    """Core leaves out the sum over both ends of a pipeline, some steps after the gradients were compared."""
    from megatron.core import distributed  # whose attribute of the module's name is a function

    module, name = sys.modules[f"{distributed.__name__}.finalize_model_grads"], "_allreduce_word_embedding_grads"
    real, calls = getattr(module, name), iter(range(10_000))
    setattr(module, name, lambda *given, **named: real(*given, **named) if next(calls) < 5 else None)


TIED = parity.llama().model_copy(
    update={"modules": {"llm": tiny.LLAMA.model_copy(update={**parity.LAYERS, "tied": True})}}
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "where", "disturb", "name"),
    [
        (parity.llama(), layout(2), flipped, "layernorm"),
        (parity.llama(), layout(2, tp=2), flipped, "layernorm"),
        (TIED, layout(2, pp=2), untied, "embed_tokens"),
    ],
    ids=["replicas", "tensor parallel", "tied embeddings"],
)
def test_a_weight_that_one_rank_alone_has_ends_the_stage(
    stage: Stage, where: Layout, disturb: Callable[[], None], name: str, tmp_path: Path
) -> None:
    given = tiny.inputs(tmp_path)
    with pytest.raises(ranks.RankError, match=rf"{name}\S* of rank 1 is not that of rank 0(.|\n)*Nothing was saved"):
        engines.run(engines.on_nemo(stage, where), given, disturb)
    assert not given.layout.manifest("tiny/box").exists()


def _norms(difference: float) -> None:
    rank = int(os.environ["RANK"])
    copies.check_step("here", 2.0 + rank * difference, 5, Ranks(rank, 2))


def test_a_norm_of_gradients_is_one_number() -> None:
    ranks.run(2, _norms, 1e-8)
    with pytest.raises(ranks.RankError) as caught:
        ranks.run(2, _norms, 0.01)
    assert (
        str(caught.value).count("DifferentCopiesError: here: a step's gradients have the norm 2 on one rank, 2.01") == 2
    )
