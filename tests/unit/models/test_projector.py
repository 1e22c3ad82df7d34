import pytest
import torch

from stages.errors import UserError
from stages.models.projector import Projector, merge_patches
from stages.spec.resolved_models import ProjectorModel
from tests.unit.models.vision import PROJECTOR, made, parameters

PUBLISHED = ProjectorModel(
    family="projector", vision_hidden=1152, merge=2, llm_hidden=2048, norm_eps=1e-5, init_std=0.02
)


def test_published_size_has_30_7_million_parameters() -> None:
    with torch.device("meta"):
        count = parameters(Projector(PUBLISHED))
    assert f"{count / 1e6:.1f}M" == "30.7M"


def test_a_block_of_patches_is_merged_row_by_row() -> None:
    numbers = torch.arange(8)[:, None]  # a 2 x 4 grid, row-major
    assert merge_patches(numbers, [(2, 4)], 2).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_images_are_merged_apart() -> None:
    numbers = torch.arange(12)[:, None]
    assert merge_patches(numbers, [(2, 2), (4, 2)], 2).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_one_row_comes_out_for_each_block() -> None:
    projector = made(PROJECTOR)
    assert projector(torch.randn(16 + 8, 32), [(4, 4), (2, 4)]).shape == (4 + 2, 24)


def test_a_grid_that_cannot_be_merged_is_the_users_error() -> None:
    with pytest.raises(UserError, match="3 x 4 patches cannot be merged 2 x 2"):
        merge_patches(torch.zeros(12, 1), [(3, 4)], 2)
