import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.models import coca
from stages.models.coca import caption_loss, siglip_loss, whole_batch_gradient
from stages.models.vision_packing import pack
from tests.unit.models.vision import CONTRASTIVE, DECODER, SIZES, TEXT, VIT, made, pictures

SCALE, BIAS = torch.tensor([1.5]), torch.tensor([-2.0])


@pytest.fixture
def modules() -> nn.ModuleDict:
    return nn.ModuleDict({
        "vit": made(VIT), "text_tower": made(TEXT), "decoder": made(DECODER),
        "contrastive": made(CONTRASTIVE),
    })  # fmt: skip


def embeddings(count: int, seed: int) -> tuple[Tensor, Tensor]:
    pair = torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed))
    image, text = F.normalize(pair, dim=-1)
    return image, text


def captions(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, 20, (count, TEXT.length), generator=generator)
    lengths = torch.arange(count) % (TEXT.length - 1) + 2
    return tokens.masked_fill(torch.arange(TEXT.length) >= lengths[:, None], 0), lengths


def test_siglip_loss_is_the_papers_sum_over_pairs() -> None:
    image, text = embeddings(3, 0)
    total = 0.0
    for i in range(3):
        for j in range(3):
            logit = math.exp(1.5) * float(image[i] @ text[j]) - 2.0
            total += math.log(1 / (1 + math.exp(-logit if i == j else logit)))
    assert siglip_loss(image, text, SCALE, BIAS).item() == pytest.approx(-total / 3, rel=1e-5)


def test_siglip_loss_is_symmetric_in_the_towers_and_blind_to_the_order_of_pairs() -> None:
    image, text = embeddings(9, 1)
    loss = siglip_loss(image, text, SCALE, BIAS)
    torch.testing.assert_close(siglip_loss(text, image, SCALE, BIAS), loss)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(siglip_loss(image[order], text[order], SCALE, BIAS), loss)
    assert abs(siglip_loss(image[order], text, SCALE, BIAS) - loss) > 1e-3


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_whole_batch_gradient_is_autograds_whatever_the_block(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coca, "ROWS", rows)
    contrastive = made(CONTRASTIVE)
    image, text = inputs = [part.requires_grad_() for part in embeddings(7, 2)]
    loss = siglip_loss(image, text, contrastive.logit_scale, contrastive.logit_bias)
    expected = torch.autograd.grad(loss, [*inputs, contrastive.logit_scale, contrastive.logit_bias])
    cached = whole_batch_gradient(image, text, contrastive)
    torch.testing.assert_close(cached.loss, loss.detach())
    for found, wanted in zip(
        (cached.image_emb, cached.text_emb, cached.logit_scale, cached.logit_bias), expected, strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
    assert all(p.grad is None for p in contrastive.parameters())


def test_two_passes_over_micro_batches_give_the_gradient_of_the_whole_batch(modules: nn.ModuleDict) -> None:
    images, (tokens, lengths), weight = pictures(1), captions(len(SIZES)), 2.0
    pixels, grids = pack(images, VIT.patch)
    features, image_emb = coca.embed_images(modules, pixels, grids)
    text_emb = coca.embed_texts(modules, tokens)
    contrastive = modules["contrastive"]
    contrast = siglip_loss(image_emb, text_emb, contrastive.logit_scale, contrastive.logit_bias)
    caption, count = caption_loss(modules["decoder"], features, grids, tokens, lengths), (lengths - 1).sum()
    (contrast + weight * caption / count).backward()
    expected = {name: parameter.grad.clone() for name, parameter in modules.named_parameters()}
    modules.zero_grad()

    micro = [(slice(0, 3), pack(images[:3], VIT.patch)), (slice(3, 7), pack(images[3:], VIT.patch))]
    with torch.no_grad():
        image_emb = torch.cat([coca.embed_images(modules, *packed)[1] for _, packed in micro])
        text_emb = torch.cat([coca.embed_texts(modules, tokens[part]) for part, _ in micro])
    cached = whole_batch_gradient(image_emb, text_emb, contrastive)
    contrastive.logit_scale.grad, contrastive.logit_bias.grad = cached.logit_scale, cached.logit_bias
    for part, packed in micro:
        features, emb = coca.embed_images(modules, *packed)
        loss = caption_loss(modules["decoder"], features, packed[1], tokens[part], lengths[part])
        contrast = coca.surrogate(emb, cached.image_emb[part])
        contrast = contrast + coca.surrogate(coca.embed_texts(modules, tokens[part]), cached.text_emb[part])
        (contrast + weight * loss / count).backward()
    for name, parameter in modules.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_caption_sees_its_own_image_and_no_other(modules: nn.ModuleDict) -> None:
    tokens, _ = captions(3)
    grids = [(2, 2), (2, 4), (1, 3)]
    features = torch.randn(15, 32, generator=torch.Generator().manual_seed(0))
    before = modules["decoder"](tokens, features, grids)
    changed = features.clone()
    changed[4:12] += 1.0  # the second image
    after = modules["decoder"](tokens, changed, grids)
    assert [torch.equal(was, now) for was, now in zip(before, after, strict=True)] == [True, False, True]


def test_captions_are_read_from_left_to_right(modules: nn.ModuleDict) -> None:
    tokens, features = torch.tensor([[1, 2, 3, 4, 5]]), torch.ones(4, 32)
    before = modules["decoder"](tokens, features, [(2, 2)])
    tokens[0, 3] = 6
    after = modules["decoder"](tokens, features, [(2, 2)])
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_caption_loss_is_over_every_true_token_but_the_first(modules: nn.ModuleDict) -> None:
    tokens, lengths = torch.tensor([[1, 2, 3, 0], [1, 4, 5, 6]]), torch.tensor([3, 4])
    features, grids = torch.ones(8, 32), [(2, 2), (2, 2)]
    loss = caption_loss(modules["decoder"], features, grids, tokens, lengths)
    logp = modules["decoder"](tokens, features, grids).log_softmax(-1).detach()
    oracle = [(0, 0, 2), (0, 1, 3), (1, 0, 4), (1, 1, 5), (1, 2, 6)]  # row, place, next token
    expected = -sum(float(logp[row, place, token]) for row, place, token in oracle)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_miniature_learns_to_match_ten_digits_with_their_names(modules: nn.ModuleDict) -> None:
    torch.set_num_threads(1)
    grids = [(2, 2)] * 10
    pixels, _ = pack(pictures(7, grids), VIT.patch)
    names = torch.stack([torch.tensor([1, digit + 2, 12, 0, 0, 0]) for digit in range(10)])  # begin, digit, end
    lengths = torch.full((10,), 3)
    optimizer = torch.optim.AdamW(modules.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        features, image_emb = coca.embed_images(modules, pixels, grids)
        text_emb = coca.embed_texts(modules, names)
        contrastive = modules["contrastive"]
        loss = siglip_loss(image_emb, text_emb, contrastive.logit_scale, contrastive.logit_bias)
        caption = caption_loss(modules["decoder"], features, grids, names, lengths)
        total = loss + 2 * caption / (lengths - 1).sum()
        losses.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        _, image_emb = coca.embed_images(modules, pixels, grids)
        assert (image_emb @ coca.embed_texts(modules, names).T).argmax(1).tolist() == list(range(10))
        spoken = modules["decoder"](names, modules["vit"](pixels, grids), grids)[:, 0].argmax(-1)
    assert spoken.tolist() == [digit + 2 for digit in range(10)]
    assert losses[-1] < losses[0] / 3
