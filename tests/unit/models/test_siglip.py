import math

import torch

from tests.rounding import noise
from tests.unit.models.vision import CONTRASTIVE, SIZES, TEXT, made


def test_every_text_position_reaches_the_pooled_embedding() -> None:
    tower = made(TEXT)
    caption = torch.tensor([[1, 2, 3, 4, 5, 6]])
    pooled = tower(caption)
    assert pooled.shape == (1, TEXT.hidden)
    for place in range(TEXT.length):
        changed = caption.clone()
        changed[0, place] = 7
        assert (tower(changed) - pooled).abs().max() > 1e-3


def test_pooling_is_image_by_image_and_keeps_their_order() -> None:
    contrastive = made(CONTRASTIVE)
    lengths = [h * w for h, w in SIZES]
    features = torch.randn(sum(lengths), CONTRASTIVE.hidden)
    alone = [contrastive.head(part[None])[0] for part in features.split(lengths)]
    allowed = noise(contrastive, lambda: contrastive(features, SIZES), CONTRASTIVE.hidden)
    torch.testing.assert_close(contrastive(features, SIZES), torch.stack(alone), rtol=0, atol=allowed)


def test_temperature_and_bias_start_where_the_spec_says() -> None:
    contrastive = made(CONTRASTIVE)
    assert math.isclose(contrastive.logit_scale.exp().item(), 10.0, rel_tol=1e-6)
    assert contrastive.logit_bias.item() == -10.0
