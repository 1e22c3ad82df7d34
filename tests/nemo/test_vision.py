"""Images' features: each context-parallel rank has those of its own positions; groups of images are computed again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.data.document import IMAGE
from stages.data.loading.sample import Image, Sample
from stages.engines.nemo.context import own
from stages.errors import UserError
from stages.models import kimi_vl
from tests.nemo.engines import Layout, layout, on_nemo
from tests.nemo.made_up import randomised
from tests.unit.train import tiny

ROWS, LENGTH, WIDTH = 3, 16, 4


def rows(seed: int) -> np.ndarray:
    """Image tokens anywhere, also first in a rank's share."""
    random = np.random.default_rng(seed)
    return np.where(random.random((ROWS, LENGTH)) < 0.4, IMAGE, 9)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_features_lie_where_they_lie_in_whole_rows_and_gradients_add_up(ranks: int) -> None:
    from stages.engines.nemo import vision

    for seed in range(5):
        tokens, generator = rows(seed), torch.Generator().manual_seed(seed)
        count = int((tokens == IMAGE).sum())
        given = torch.randn(ROWS, LENGTH, WIDTH, generator=generator), torch.randn(count, WIDTH, generator=generator)
        slope = torch.randn(ROWS, LENGTH, WIDTH, generator=generator)
        whole, features = (x.clone().requires_grad_() for x in given)
        wanted = kimi_vl.place_images(whole, features, kimi_vl.places(tokens, IMAGE, torch.device("cpu")))
        (wanted * slope).sum().backward()
        total = torch.zeros_like(features)
        for rank in range(ranks):
            mine = given[1].clone().requires_grad_()
            where = vision.places(tokens == IMAGE, rank, ranks)
            placed = kimi_vl.place_images(own(given[0], rank, ranks).contiguous(), mine, where)
            assert placed.equal(own(wanted.detach(), rank, ranks))
            (placed * own(slope, rank, ranks)).sum().backward()
            assert mine.grad is not None
            total += mine.grad
        assert features.grad is not None
        torch.testing.assert_close(total, features.grad)


def test_rows_without_images_have_no_places() -> None:
    from stages.engines.nemo import vision

    assert vision.places(np.zeros((1, LENGTH), dtype=bool), 0, 2) is None


def test_images_are_where_their_own_tokenizers_token_is() -> None:
    from stages.engines.nemo import data, vision

    picture = Image(np.zeros((2, 4, tiny.VIT.channels), np.float32))
    tokens = np.array([IMAGE, 77, 77, 9], dtype=np.int64)
    sample = Sample(tokens, tokens, np.zeros(4, np.int32), np.arange(4), images=(picture,), spans=(), image=77, fill=0)
    phase = tiny.phase("joint", context=4, micro_batch=1)
    micro = data.stacked([sample], phase, data.Share(0, 1, 0, 1), torch.device("cpu"))
    alone = SimpleNamespace(rank=lambda: 0, size=lambda: 1)

    class Seen:
        patch = 2

        def __call__(self, pixels: torch.Tensor, grids: object) -> torch.Tensor:
            return torch.ones(len(pixels), WIDTH)

    model = SimpleNamespace(
        pg_collection=SimpleNamespace(cp=alone, tp=alone),
        config=SimpleNamespace(sequence_parallel=False),
        vision=Seen(),
        embedding=lambda input_ids, position_ids: torch.zeros(4, 1, WIDTH),
    )
    assert vision.embed(model, micro)[:, 0, 0].tolist() == [0.0, 1.0, 1.0, 0.0]


def test_a_feature_too_many_is_refused_on_every_rank() -> None:
    from stages.engines.nemo import vision

    tokens = rows(0)
    count = int((tokens == IMAGE).sum())
    for rank in range(2):
        share = torch.zeros(ROWS, LENGTH // 2, WIDTH)
        with pytest.raises(UserError, match=f"{count} image tokens, but its images give {count + 1} features"):
            kimi_vl.place_images(share, torch.zeros(count + 1, WIDTH), vision.places(tokens == IMAGE, rank, 2))


def test_images_are_grouped_in_their_order_and_a_large_one_is_alone() -> None:
    from stages.engines.nemo.vision import grouped

    grids = [(2, 2), (2, 2), (4, 4), (2, 2)]
    assert list(grouped(grids, 8)) == [[(2, 2), (2, 2)], [(4, 4)], [(2, 2)]]
    assert list(grouped(grids, 28)) == [grids]


def test_recomputed_images_are_whole_one_group_at_a_time_and_have_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stages.engines.nemo import vision

    grids = [(2, 4), (4, 4), (2, 2)]
    pixels = torch.randn(28, tiny.VIT.channels * tiny.VIT.patch**2, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(vision, "PATCHES", 16)

    def learnt(layout: Layout) -> tuple[torch.Tensor, list[torch.Tensor], list[int]]:
        stage = on_nemo(tiny.make("joint"), layout)
        seen = vision.Vision(stage, tiny.VIT, tiny.PROJECTOR)
        randomised(seen, 0.2)
        together: list[int] = []
        seen.vit.register_forward_pre_hook(lambda module, given: together.append(len(given[0])))
        features = seen(pixels, grids)
        features.square().sum().backward()
        return features.detach(), [one.grad for one in seen.parameters() if one.grad is not None], together

    whole, again = learnt(layout()), learnt(layout(recompute="full"))
    assert whole[2] == [28]
    assert again[2] == [8, 16, 4, 4, 16, 8], "forwards group by group, and again from the last one back"
    torch.testing.assert_close(again[0], whole[0])
    assert len(again[1]) == len(whole[1]) > 0
    for one, other in zip(again[1], whole[1], strict=True):
        assert float((one - other).norm()) <= 2e-6 * float(other.norm())
