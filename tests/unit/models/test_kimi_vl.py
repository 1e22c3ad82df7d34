import pytest
import torch
from torch import Tensor, nn

from stages.errors import UserError
from stages.models import kimi_vl
from stages.models.vision_packing import pack
from tests.unit.models.rows import CPU
from tests.unit.models.vision import PROJECTOR, VIT, made, pictures

IMAGE = 9


class Embeddings(nn.Module):
    """Stands for a language model, of which its embeddings alone are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, PROJECTOR.llm_hidden)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.table(tokens)


@pytest.fixture
def modules() -> nn.ModuleDict:
    return nn.ModuleDict({"llm": Embeddings(), "vit": made(VIT), "projector": made(PROJECTOR)})


def batch(tokens: list[list[int]], grids: list[tuple[int, int]]) -> kimi_vl.Batch:
    rows = torch.tensor(tokens)
    pixels, packed = pack(pictures(0, grids), VIT.patch) if grids else (None, [])
    where = kimi_vl.places(rows.numpy(), IMAGE, CPU)
    return kimi_vl.Batch(rows, torch.arange(rows.shape[1]).expand_as(rows), None, pixels, packed, where)


def test_features_take_the_places_of_image_tokens_in_reading_order(modules: nn.ModuleDict) -> None:
    # Row 0: an image of two tokens and one of one token; row 1: a video of two frames, one token each.
    both = batch([[1, 9, 9, 2, 9], [3, 9, 9, 4, 5]], [(2, 4), (2, 2), (2, 2), (2, 2)])
    embedded = kimi_vl.embed(modules, both)
    assert both.pixels is not None
    features = modules["projector"](modules["vit"](both.pixels, both.grids), both.grids)
    image = both.tokens == IMAGE
    assert torch.equal(embedded[image], features)
    assert torch.equal(embedded[~image], modules["llm"].embed(both.tokens[~image]))


def test_text_alone_leaves_the_vision_modules_untouched(modules: nn.ModuleDict) -> None:
    kimi_vl.embed(modules, batch([[1, 2, 3]], [])).sum().backward()
    assert all(p.grad is None for name in ("vit", "projector") for p in modules[name].parameters())


def test_gradients_reach_every_module(modules: nn.ModuleDict) -> None:
    kimi_vl.embed(modules, batch([[1, 9, 2]], [(2, 2)])).square().sum().backward()
    assert all(p.grad is not None for p in modules.parameters())
    row_of_image = modules["llm"].table.weight.grad[IMAGE]
    assert torch.equal(row_of_image, torch.zeros_like(row_of_image))


@pytest.mark.parametrize(("row", "grids", "message"), [
    ([1, 9, 9], [(2, 2)], "2 image tokens, but its images give 1 features"),
    ([1, 2, 9], [(2, 4)], "1 image tokens, but its images give 2 features"),
    ([1, 2, 9], [], "1 image tokens, but its images give 0 features"),
])  # fmt: skip
def test_a_count_mismatch_names_both_numbers(
    modules: nn.ModuleDict, row: list[int], grids: list[tuple[int, int]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        kimi_vl.embed(modules, batch([row], grids))
