"""What the CoCa objective computes, held against the losses of the whole batch in one graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.data.loading.sample import PairRow
from stages.errors import UserError
from stages.models.coca import caption_loss, embed_images, embed_texts, siglip_loss
from stages.models.vision_packing import pack
from stages.spec.resolved import Stage
from stages.train.replicated import gather
from tests.unit.train import tiny
from tests.unit.train.beginning import last_step, setting


def whole_coca(stage: Stage, modules: nn.ModuleDict, step: Step) -> Tensor:
    """L_siglip + 2 L_caption of all the step's pairs in one graph."""
    data = tiny.Data(stage.phases[0], 0, "", None)
    rows = data.pairs(step.first_sample, step.sequences, step.tail)
    pixels, grids = pack([image.pixels for row in rows for image in row.images], tiny.PATCH)
    captions = torch.cat([torch.from_numpy(row.captions) for row in rows])
    lengths = torch.cat([torch.from_numpy(row.caption_lengths) for row in rows])
    features, images = embed_images(modules, pixels, grids)
    contrastive: Any = modules["contrastive"]
    pair = siglip_loss(images, embed_texts(modules, captions), contrastive.logit_scale, contrastive.logit_bias)
    decoder: Any = modules["decoder"]
    total = caption_loss(decoder, features, grids, captions, lengths)
    return pair + 2.0 * total / (lengths - 1).sum()


def test_cached_embeddings_give_the_gradient_of_the_whole_batch() -> None:
    stage = tiny.make("coca")
    modules, optimizer, made = setting(stage)
    step = last_step(stage)
    gradients, values = gather(optimizer, made, step)
    loss = whole_coca(stage, modules, step)
    expected = torch.autograd.grad(loss, optimizer.parameters)
    assert values[0].item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(gradients, list(expected), rtol=1e-3, atol=1e-5)
    contrastive: Any = modules["contrastive"]
    assert values[4].item() == pytest.approx(contrastive.logit_scale.exp().item(), rel=1e-6), "temperature"
    scale = next(i for i, slot in enumerate(optimizer.slots) if slot.name == "contrastive.logit_scale")
    assert gradients[scale].abs().item() > 0


def test_rows_without_a_pair_are_in_no_micro_batch() -> None:
    """The last step's row may be cut before its first picture's end."""
    stage = tiny.make("coca")
    step, found = ledger.step_at(stage.phases[0], 0), []
    nothing = PairRow((), np.zeros((0, 6), dtype=np.int64), np.zeros(0, dtype=np.int64), ())
    for left in ([], [nothing, nothing]):
        _, optimizer, made = setting(stage)
        read = made.read
        made.read = lambda *asked, read=read, left=left: [*read(*asked)[:2], *left]
        found.append((gather(optimizer, made, step), made.begin(step)))
    assert [count for _, count in found] == [1, 1]
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=0)


def test_a_last_step_too_short_for_an_image_is_an_error_that_says_what_to_do() -> None:
    stage = tiny.make("coca")
    _, optimizer, made = setting(stage)
    nothing = PairRow((), np.zeros((0, 6), dtype=np.int64), np.zeros(0, dtype=np.int64), ())
    made.read = lambda *_: [nothing]
    said = rf"step \d+ \(patches \d+ to {stage.phases[0].budget} .*no image that fits.*a multiple of the context, 32"
    with pytest.raises(UserError, match=said):
        gather(optimizer, made, last_step(stage))
