"""Logits of many rows at once are those of each row alone: whatever their lengths, batches, loops and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from stages.data.document import IMAGE
from stages.data.loading.sample import Image
from stages.evals import whole
from stages.evals.heldout import Heldout
from stages.evals.model import row
from stages.evals.whole import Whole, batches
from stages.models import kimi_vl
from stages.models.vision_packing import pack
from tests.unit.evals.stages_by_hand import JOINT, LLAMA, OURO, VIT, lively, phase, stage

LENGTHS = (5, 9, 3, 12)


def alone(modules: Any, tokens: NDArray[np.int64], loops: int | None, images: Sequence[Image] = ()) -> Tensor:
    """Logits [T, V] of one row, by the model itself."""
    ids, positions = torch.from_numpy(tokens)[None], torch.arange(len(tokens))[None]
    embeddings = None
    if images:
        pixels, grids = pack([one.pixels for one in images], VIT.patch)
        where = kimi_vl.places(tokens[None], IMAGE, ids.device)
        embeddings = kimi_vl.embed(modules, kimi_vl.Batch(ids, positions, None, pixels, grids, where))
    found = modules["llm"](ids, positions, None, embeddings, *([loops] if loops else []))
    return modules["llm"].logits(found[0][-1] if loops else found)[0]


@torch.no_grad()
@pytest.mark.parametrize(("model", "loops"), [(LLAMA, None), (OURO, 3)])
def test_rows_of_several_lengths_in_several_batches(
    monkeypatch: pytest.MonkeyPatch, model: Any, loops: int | None
) -> None:
    monkeypatch.setattr(whole, "TOKENS_AT_ONCE", 2 * max(LENGTHS))  # two rows a batch
    read = phase("text", loops=loops)
    of = stage({"llm": model}, (), read)
    modules, texts = lively(of), [np.arange(7, 7 + length) for length in LENGTHS]
    places = [range(length - 2, length) for length in LENGTHS]
    found = Whole(of, modules).logits([row(text) for text in texts], places, read)
    expected = torch.cat([alone(modules, text, loops)[-2:] for text in texts])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_with_pictures_see_their_own(heldout: Heldout) -> None:
    of = stage(JOINT, (), phase("questions"))
    modules, documents = lively(of), heldout.documents("questions")[:3]
    rows = [(heldout.tokens("questions", one), heldout.images("questions", one)) for one in documents]
    places = [range(len(tokens) - 1, len(tokens)) for tokens, _ in rows]
    found = Whole(of, modules).logits([row(*one) for one in rows], places, of.phases[0])
    expected = torch.cat([alone(modules, tokens, None, images)[-1:] for tokens, images in rows])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 12_000), st.integers(0, 20))
def test_rows_of_one_length_come_in_order_as_many_at_once_as_the_limit_lets(length: int, count: int) -> None:
    samples = [row(np.zeros(length, dtype=np.int64)) for _ in range(count)]
    parts, most = list(batches(samples)), max(1, whole.TOKENS_AT_ONCE // length)
    assert [id(one) for part in parts for one in part] == list(map(id, samples))
    assert all(len(part) == most for part in parts[:-1])
    assert all(1 <= len(part) <= most for part in parts)
