import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.errors import UserError
from stages.models.moonvit import MoonViT
from stages.models.moonvit_positions import PositionTable, rotate, rotation
from stages.models.vision_packing import pack, pad_by_image, patchify
from tests.rounding import noise
from tests.unit.models.vision import PUBLISHED_VIT, SIZES, VIT, made, parameters, pictures


@pytest.fixture
def vit() -> MoonViT:
    return made(VIT)


def test_published_size_has_416_9_million_parameters() -> None:
    with torch.device("meta"):
        count = parameters(MoonViT(PUBLISHED_VIT))
    assert f"{count / 1e6:.1f}M" == "416.9M"


def test_patches_are_cut_row_by_row_and_laid_out_like_a_convolution_kernel() -> None:
    pixels = np.random.default_rng(0).normal(size=(6, 9, 2)).astype(np.float32)
    kernel = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    convolved = F.conv2d(torch.from_numpy(pixels).permute(2, 0, 1)[None], kernel, stride=3)[0]
    patches = torch.from_numpy(patchify(pixels, 3))
    torch.testing.assert_close(patches @ kernel.flatten(1).T, convolved.flatten(1).T)


def test_a_side_that_is_no_multiple_of_the_patch_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"6 x 10 pixels.*patch size 4"):
        patchify(np.zeros((6, 10, 1), np.float32), 4)


def test_packed_equals_one_by_one(vit: MoonViT) -> None:
    images = pictures(1)
    together = pack(images, VIT.patch)
    packed = vit(*together)
    alone = torch.cat([vit(*pack([image], VIT.patch)) for image in images])
    # Matrix products of other heights may sum in another order: equal to fp32 rounding, not always bit for bit.
    assert (packed - alone).abs().max() <= noise(vit, lambda: vit(*together), VIT.ffn)


def test_an_image_never_sees_another(vit: MoonViT) -> None:
    images = pictures(2)
    pixels, grids = pack(images, VIT.patch)
    before = vit(pixels, grids).split([h * w for h, w in grids])
    for changed in range(len(SIZES)):
        others = [-image if i == changed else image for i, image in enumerate(images)]
        after = vit(*pack(others, VIT.patch)).split([h * w for h, w in grids])
        for i, (was, now) in enumerate(zip(before, after, strict=True)):
            assert torch.equal(was, now) == (i != changed)


def test_gradients_of_packed_images_equal_those_one_by_one(vit: MoonViT) -> None:
    images = pictures(3)
    vit(*pack(images, VIT.patch)).square().sum().backward()
    packed = {name: p.grad.clone() for name, p in vit.named_parameters() if p.grad is not None}
    vit.zero_grad()
    for image in images:
        vit(*pack([image], VIT.patch)).square().sum().backward()
    assert set(packed) == {name for name, _ in vit.named_parameters()}
    for name, parameter in vit.named_parameters():
        torch.testing.assert_close(packed[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_grids_that_do_not_add_up_to_the_patches_are_the_users_error(vit: MoonViT) -> None:
    pixels, grids = pack(pictures(0), VIT.patch)
    with pytest.raises(
        UserError, match=f"have {pixels.shape[0]} patches, but the packed row has {pixels.shape[0] - 1}"
    ):
        vit(pixels[1:], grids)


@pytest.mark.parametrize("grid", [(4, 4), (2, 2), (3, 9), (8, 1), (16, 16)])
def test_the_position_table_is_interpolated_as_torch_interpolates(grid: tuple[int, int]) -> None:
    table = PositionTable(4, 6)
    torch.nn.init.normal_(table.weight, generator=torch.Generator().manual_seed(1))
    expected = F.interpolate(table.weight.permute(2, 0, 1)[None], size=grid, mode="bicubic")[0]
    torch.testing.assert_close(table(grid), expected.permute(1, 2, 0).flatten(end_dim=1), rtol=0, atol=2e-6)


def test_rotary_scores_depend_on_the_offset_between_two_patches_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 8, generator=generator, dtype=torch.float64).float()
    cos, sin = rotation((5, 7), 8, 100.0)
    turned_q, turned_k = (rotate(part.expand(35, 1, 8), cos, sin)[:, 0].view(5, 7, 8) for part in (q, k))
    for dy, dx in [(0, 1), (1, 0), (2, 3)]:
        scores = (turned_q[: 5 - dy, : 7 - dx] * turned_k[dy:, dx:]).sum(-1)
        assert scores.max() - scores.min() < 1e-5
    assert (turned_q[0, 0] * turned_k[0, 1]).sum() != pytest.approx(float((turned_q[0, 0] * turned_k[1, 0]).sum()))


def test_rows_and_columns_are_told_apart(vit: MoonViT) -> None:
    image = pictures(4, [(4, 4)])[0]
    upright = vit(*pack([image], VIT.patch)).view(4, 4, -1)
    patches = patchify(image, VIT.patch).reshape(4, 4, -1).transpose(1, 0, 2).reshape(16, -1)
    turned = vit(torch.from_numpy(patches.copy()), [(4, 4)]).view(4, 4, -1).transpose(0, 1)
    assert (upright - turned).abs().max() > 1e-2


def test_padding_by_image_masks_exactly_the_patches_that_are_not_there() -> None:
    rows = torch.arange(1.0, 11.0)[:, None]
    padded, mask = pad_by_image(rows, [(1, 2), (2, 3), (2, 1)])
    assert mask is not None
    assert mask.sum(1).tolist() == [2, 6, 2]
    assert padded[mask].flatten().tolist() == rows.flatten().tolist()
    assert pad_by_image(rows, [(1, 5), (5, 1)])[1] is None
