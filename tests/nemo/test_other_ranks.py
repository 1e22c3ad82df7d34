"""Ranks that were given different things, and what is on the ranks after a resume: neither is trained on."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.engines import Inputs, training
from stages.spec.resolved import Stage
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.nemo.ranks import RankError
from tests.unit.train import tiny

pytestmark = pytest.mark.slow


def reseeded(stage: Stage) -> Stage:
    return stage.model_copy(update={"seed": 8})


def divided(stage: Stage) -> Stage:
    return engines.on_nemo(stage, layout(2, tp=2))


def _given(stage: Stage, given: Inputs, other: Callable[[Stage], Stage]) -> None:
    from stages.engines.nemo import engine

    training.PhaseData = tiny.Data  # type: ignore[misc, assignment]
    engine.run(other(stage) if os.environ["RANK"] == "1" else stage, given)


@pytest.mark.parametrize(
    ("where", "other"), [(layout(2, tp=2), reseeded), (layout(2), divided)], ids=["seed", "layout"]
)
def test_ranks_with_different_specs_do_not_begin(
    where: Layout, other: Callable[[Stage], Stage], tmp_path: Path
) -> None:
    stage, given = engines.on_nemo(tiny.make("next_token"), where), tiny.inputs(tmp_path)
    with pytest.raises(RankError) as caught:
        engines.call(2, _given, stage, given, other)
    said = r"UserError: tiny/box: rank 1 on \S+ has another spec of this stage than the first"
    assert len(re.findall(said, str(caught.value))) == 2


def one_token() -> None:
    """Of a row of the third step, on one rank."""
    real = tiny.Data._sample

    def sample(self: tiny.Data, number: int, length: int) -> Any:
        found = real(self, number, length)
        if os.environ["RANK"] == "1" and number == 20:
            found.tokens[2] += 1
        return found

    tiny.Data._sample = sample  # type: ignore[method-assign]


def never_zeroed() -> None:
    from megatron.core.distributed import DistributedDataParallel

    DistributedDataParallel.zero_grad_buffer = lambda self: None


@pytest.mark.parametrize(
    ("disturb", "said"),
    [
        (one_token, "rank 1 reads other rows of this step than the first rank"),
        (never_zeroed, "has a gradient before any pass of this step"),
    ],
)
def test_a_step_on_other_rows_or_on_what_is_left_of_another_updates_nothing(
    disturb: Callable[[], None], said: str, tmp_path: Path
) -> None:
    given = tiny.inputs(tmp_path)
    with pytest.raises(RankError, match=said):
        engines.run(engines.on_nemo(tiny.make("next_token"), layout(2)), given, disturb)
    assert not given.layout.manifest("tiny/box").exists()


def test_a_checksum_of_rows_is_of_their_images_and_positions_too() -> None:
    from stages.engines.nemo.data import checksum

    (row,) = tiny.Data(tiny.make("joint").phases[0], 1, "", None).samples(1, 1, 0)
    (image,) = row.images
    darker = replace(row, images=(replace(image, pixels=image.pixels * 0.5),))
    assert len({checksum([one]) for one in (row, darker, replace(row, positions=row.positions + 1))}) == 3


def moments_dropped(owned: Any) -> None:
    for one in owned:
        for moment in one.moments if one.inner is not None else ():
            one.state[moment].zero_()


def counted_anew(owned: Any) -> None:
    for one in owned:
        if one.counts:
            one.count(0)


def copies_of_rounded_weights(owned: Any) -> None:
    for one in owned:
        if one.main is not one.tensor:
            one.main.view(-1).copy_(one.tensor.detach().reshape(-1)[one.start : one.stop].float())


def rows_exchanged(owned: Any) -> None:
    """Two rows of a moment change places: the same numbers, elsewhere."""
    one = next(one for one in owned if one.inner is not None and one.main.ndim == 2)
    moment = one.state[one.moments[0]]
    moment[[0, 1]] = moment[[1, 0]].clone()


@pytest.mark.parametrize(
    ("where", "kind", "change", "named"),
    [
        (layout(2, tp=2), "nemo-fp32", rows_exchanged, r"\.exp_avg"),
        (layout(2, tp=2), "nemo-fp32", moments_dropped, r"\.exp_avg"),
        (layout(), "nemo-fp32", counted_anew, "llm"),
        (layout(2, distributed_optimizer=True), "nemo-bf16", copies_of_rounded_weights, r"\.weight"),
    ],
    ids=["places", "moments", "updates", "copies"],
)
def test_what_a_resume_puts_on_the_ranks_is_what_the_checkpoint_had(
    where: Layout, kind: str, change: Callable[[Any], None], named: str, tmp_path: Path
) -> None:
    stage = engines.on_nemo(tiny.make("next_token"), where).model_copy(update={"engine_class": kind})
    given = tiny.inputs(tmp_path)
    with pytest.raises(RankError, match="stopped after step 4"):
        engines.run(stage, given, engines.stopping_after(4))

    def disturb() -> None:
        from stages.engines.nemo import shards

        real = shards.take

        def take(found: Any, chunks: Any, owned: Any, steps: Any) -> None:
            real(found, chunks, owned, steps)
            change(owned)

        shards.take = take

    with pytest.raises(RankError, match=rf"on the ranks, \S*{named}.* not what was written"):
        engines.run(stage, given, disturb)
    engines.run(stage, given)
