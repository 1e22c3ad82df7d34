"""A row that is cut, a row of padding, and grey bytes as a model sees them: by hand, position by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.data.document import BOS, EOS, IMAGE, PAD
from stages.data.loading.sample import PADDING, UNSUPERVISED, Image, Sample, as_image, blank
from stages.data.tokens.roles import LOCAL

CELL = 8  # pixels of one image token's side


def row() -> Sample:
    """<bos> 9 <image> <image> 9 <image> 9 <eos>: a picture of two cells side by side, then one of one cell."""
    tokens = np.array([BOS, 9, IMAGE, IMAGE, 9, IMAGE, 9, EOS])
    return Sample(
        tokens=tokens,
        labels=np.append(np.where(tokens[1:] == IMAGE, UNSUPERVISED, tokens[1:]), UNSUPERVISED),
        segments=np.array([0, 0, 0, 0, 0, 1, 1, 1], dtype=np.int32),
        positions=np.array([0, 1, 2, 3, 4, 0, 1, 2]),
        images=(Image(np.zeros((CELL, 2 * CELL, 3), np.float32)), Image(np.ones((CELL, CELL, 3), np.float32))),
        spans=(("corpus", 4, 10, 15), ("corpus", 5, 0, 3)),
    )


@pytest.mark.parametrize(
    ("length", "tokens", "labels", "segments", "images"),
    [
        (8, [BOS, 9, IMAGE, IMAGE, 9, IMAGE, 9, EOS], [9, -100, -100, 9, -100, 9, EOS, -100], [0] * 5 + [1] * 3, 2),
        (6, [BOS, 9, IMAGE, IMAGE, 9, IMAGE], [9, -100, -100, 9, -100, 9], [0] * 5 + [1], 2),
        (5, [BOS, 9, IMAGE, IMAGE, 9], [9, -100, -100, 9, -100], [0] * 5, 1),
        (4, [BOS, 9, IMAGE, IMAGE], [9, -100, -100, 9], [0] * 4, 1),
        (3, [BOS, 9, PAD], [9, -100, -100], [0, 0, -1], 0),  # half a picture is none
        (1, [BOS], [9], [0], 0),
    ],
)
def test_a_cut_row_keeps_the_pictures_that_are_whole(
    length: int, tokens: list[int], labels: list[int], segments: list[int], images: int
) -> None:
    cut = row().cut(length, CELL)
    assert cut.tokens.tolist() == tokens
    assert cut.labels.tolist() == labels
    assert cut.segments.tolist() == segments
    assert cut.positions.tolist() == row().positions[:length].tolist()
    assert [image.pixels.shape for image in cut.images] == [image.pixels.shape for image in row().images[:images]]


def test_a_picture_that_is_cut_takes_its_labels_with_it_from_the_position_before_it() -> None:
    """The position before the picture would be taught what comes after it."""
    whole = row()
    whole.labels[:] = 7
    assert whole.cut(3, CELL).labels.tolist() == [7, -100, -100]
    torn_first = Sample(
        tokens=np.array([IMAGE, IMAGE]), labels=np.array([7, 7]), segments=np.zeros(2, np.int32),
        positions=np.arange(2), images=(Image(np.zeros((CELL, 2 * CELL, 3), np.float32)),), spans=(),
    )  # fmt: skip
    assert torn_first.cut(1, CELL).labels.tolist() == [-100]


def test_cutting_a_row_changes_nothing_of_the_row() -> None:
    whole, again = row(), row()
    whole.cut(3, CELL)
    for name in ("tokens", "labels", "segments", "positions"):
        assert np.array_equal(getattr(whole, name), getattr(again, name))


@pytest.mark.parametrize(
    ("length", "spans"),
    [
        (8, [("corpus", 4, 10, 15), ("corpus", 5, 0, 3)]),
        (6, [("corpus", 4, 10, 15), ("corpus", 5, 0, 1)]),
        (5, [("corpus", 4, 10, 15)]),
        (3, [("corpus", 4, 10, 13)]),
    ],
)
def test_a_cut_row_says_what_is_left_of_what_was_read(length: int, spans: list[tuple[str, int, int, int]]) -> None:
    assert list(row().cut(length, CELL).spans) == spans


def written(numbers: np.ndarray) -> tuple[list[Any], str]:
    return numbers.tolist(), str(numbers.dtype)


def test_a_blank_row_teaches_nothing_and_belongs_to_no_document() -> None:
    empty = blank(3, LOCAL)
    assert written(empty.tokens) == ([PAD] * 3, "int64")
    assert written(empty.labels) == ([UNSUPERVISED] * 3, "int64")
    assert written(empty.segments) == ([PADDING] * 3, "int32")
    assert written(empty.positions) == ([0] * 3, "int64")
    assert (empty.images, empty.spans) == ((), ())


def test_black_is_minus_one_white_is_one_and_every_channel_is_the_same() -> None:
    pixels = as_image(np.array([[0, 255], [51, 204]], np.uint8), 3).pixels
    assert pixels.shape == (2, 2, 3)
    assert pixels.dtype == np.float32
    for channel in range(3):
        np.testing.assert_allclose(pixels[:, :, channel], np.array([[-1, 1], [-0.6, 0.6]]), rtol=1e-6)
