"""Where documents begin, of corpora too long to keep that in memory: as an array of numpy's says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.data.corpus import offsets
from stages.data.corpus.offsets import Offsets
from tests.unit.data.adopted_tokens import DOCUMENTS, accept, declare, root, write
from tests.unit.data.small import Small, load, phase

__all__ = ["root"]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 5), st.integers(1, 4))
def test_they_are_those_of_an_array_however_few_are_kept(lengths: list[int], block: int, at_once: int) -> None:
    given_ = np.array(lengths, dtype=np.int64)
    wanted = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(given_)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offsets, "BLOCK", block)
        patch.setattr(offsets, "CHUNK", block * at_once)
        found = Offsets(len(lengths), lambda first, last: given_[first:last])
        assert len(found) == len(wanted)
        assert found[:].tolist() == wanted.tolist()
        for first in range(-len(wanted), len(wanted)):
            assert found[first] == wanted[first]
            assert found[first:].tolist() == wanted[first:].tolist()
            assert found[:first].tolist() == wanted[:first].tolist()
        numbers = np.random.default_rng(0).integers(-len(wanted), len(wanted), 30)
        assert found[numbers].tolist() == wanted[numbers].tolist()
        values = np.arange(-1, int(wanted[-1]) + 2)
        for side in ("left", "right"):
            assert found.searchsorted(values, side).tolist() == wanted.searchsorted(values, side).tolist()
            assert found.searchsorted(1, side) == wanted.searchsorted(1, side)
        assert np.concatenate([given_[:0], *offsets.length_blocks(found, len(lengths))]).tolist() == lengths
        for outside in (len(wanted), -len(wanted) - 1):
            with pytest.raises(IndexError):
                found[outside]
            with pytest.raises(IndexError):
                found[np.array([0, outside])]


def rows(small: Small, name: str, packing: str) -> list[list[int]]:
    source = small.source(name)
    data = load(
        small, phase(source, context=64, packing=packing, objective="sft" if packing == "whole" else "next_token")
    )
    assert isinstance(data._readers[0].corpus.offsets, Offsets if offsets.MAX_ARRAY == 1 else np.ndarray)
    return [one.tokens.tolist() for one in data.samples(0, 5, 40)]


@pytest.mark.parametrize(("name", "packing"), [("math", "concatenate"), ("reasoning", "whole")])
def test_a_corpus_is_read_the_same(small: Small, monkeypatch: pytest.MonkeyPatch, name: str, packing: str) -> None:
    before = rows(small, name, packing)
    monkeypatch.setattr(offsets, "MAX_ARRAY", 1)
    monkeypatch.setattr(offsets, "BLOCK", 8)
    assert rows(small, name, packing) == before


def test_so_is_one_that_is_adopted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root / "lake/a", DOCUMENTS)
    declare(root)
    made = accept(root)
    small = Small(root, root / "results/mini/data")
    before = rows(small, "mine", "concatenate")
    monkeypatch.setattr(offsets, "MAX_ARRAY", 1)
    monkeypatch.setattr(offsets, "BLOCK", 8)
    assert rows(small, "mine", "concatenate") == before
    assert int(made.size) == int(small.corpus("mine").offsets[made.documents])
    assert sorted(map(tuple, [one.tolist() for one in documents(small)])) == sorted(map(tuple, DOCUMENTS))


def documents(small: Small) -> list[NDArray[np.integer]]:
    corpus = small.corpus("mine")
    return [corpus.tokens[slice(*corpus.offsets[number : number + 2].tolist())] for number in range(corpus.documents)]
