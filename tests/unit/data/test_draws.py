"""Draws and packing plans are the same on every machine for ever: corpora, orders and keys rest on these figures."""

from __future__ import annotations

import numpy as np

from stages.data import draws
from stages.data.document import SPECIAL, held_out
from stages.data.draws import Draws, rank
from stages.data.loading.packing import plan


def test_a_stream_of_draws_is_known_by_its_words() -> None:
    draws = Draws("math", 7)
    assert [draws.below(1000) for _ in range(5)] == [259, 829, 862, 166, 735]
    assert [draws.between(-3, 3) for _ in range(8)] == [-3, 2, -3, -2, -2, 2, -3, 1]


def test_how_much_is_hashed_at_once_changes_no_draw() -> None:
    streams = [Draws("math", 7), *(Draws("math", 7, block=size) for size in (1, 2, 7))]
    first, *others = ([stream.below(1 << 60) for _ in range(200)] for stream in streams)
    assert all(other == first for other in others)


def test_words_are_told_apart_also_where_their_letters_are_the_same() -> None:
    assert Draws("a", "b").below(1 << 60) != Draws("ab").below(1 << 60)
    assert rank("a", "b") != rank("ab")


def test_both_ends_of_a_range_are_drawn_and_nothing_beyond() -> None:
    draws = Draws("ends")
    assert {draws.between(2, 4) for _ in range(200)} == {2, 3, 4}
    assert {draws.choice("xyz") for _ in range(200)} == set("xyz")


def test_a_rank_is_a_number_of_64_bits_that_never_changes() -> None:
    assert rank("held out", "a.py") == 8521715955233341129
    assert rank("held out", "b", 1) == 16111496675274195818


def test_forty_in_a_thousand_are_held_out() -> None:
    origins = [f"origin {number}" for number in range(5000)]
    assert [held_out(origin) for origin in origins] == [rank("held out", origin) % 1000 < 40 for origin in origins]
    assert any(rank("held out", origin) % 1000 == 40 for origin in origins)  # the first that is not


def test_the_ids_of_special_tokens_never_change() -> None:
    assert SPECIAL == ("<pad>", "<bos>", "<eos>", "<image>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")


def test_a_packing_plan_never_changes() -> None:
    """Documents 10 to 14; 11 is too long for a window of 6."""
    lengths = np.array([3, 9, 2, 4, 1])
    lying, shuffled = plan(lengths, 10, 6, None), plan(lengths, 10, 6, b"k" * 32)
    assert (lying.documents.tolist(), lying.starts.tolist(), lying.left_out) == ([10, 12, 13, 14], [0, 2, 4], 1)
    assert (shuffled.documents.tolist(), shuffled.starts.tolist()) == ([13, 12, 14, 10], [0, 2, 4])


def test_many_ranks_are_those_of_each() -> None:
    names = ["", "a", "two words", "é\u2028", '"a\\ud83d"']
    mine, held = draws.ranks(("mine", "held out"), names)
    assert mine.tolist() == [rank("mine", name) for name in names]
    assert held.tolist() == [rank("held out", name) for name in names]
    assert [len(none) for none in draws.ranks(("mine",), [])] == [0]
