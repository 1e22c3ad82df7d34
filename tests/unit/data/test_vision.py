"""Digits on canvases: drawing, shrinking in integers, and words that are true of what is drawn."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest

from stages.data.draws import Draws
from stages.data.generated import digits, vision
from stages.data.spec import CorpusSpec
from tests.unit.data.small import spec


@pytest.fixture(scope="module")
def training() -> digits.Digits:
    return digits.load(CorpusSpec.model_validate(spec("pairs")))[0]


def overlap(start: Fraction, end: Fraction, pixel: int) -> Fraction:
    return min(end, Fraction(pixel + 1)) - max(start, Fraction(pixel))


def by_fractions(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Area averaging from its definition, with exact fractions, one output pixel at a time."""
    height, width = pixels.shape
    out = np.zeros((rows, columns), dtype=np.uint8)
    for i in range(rows):
        for j in range(columns):
            total = Fraction(0)
            for y in range(height):
                high = overlap(Fraction(i * height, rows), Fraction((i + 1) * height, rows), y)
                for x in range(width):
                    wide = overlap(Fraction(j * width, columns), Fraction((j + 1) * width, columns), x)
                    if high > 0 and wide > 0:
                        total += high * wide * int(pixels[y, x])
            mean = total / (Fraction(height, rows) * Fraction(width, columns))
            out[i, j] = int(mean + Fraction(1, 2))
    return out


@pytest.mark.parametrize(
    ("shape", "cap", "becomes"), [((24, 24), 16, (16, 16)), ((32, 16), 16, (16, 8)), ((24, 32), 16, (8, 16))]
)
def test_shrinking_is_exact_area_averaging(shape: tuple[int, int], cap: int, becomes: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    small = digits.shrink(pixels, cap, 8)
    assert small.shape == becomes
    assert np.array_equal(small, by_fractions(pixels, *becomes))


def test_pictures_within_the_cap_stay_as_they_are() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(digits.shrink(pixels, 16, 8), pixels)


def test_the_two_splits_share_no_digit_and_have_all_classes() -> None:
    kept, held = digits.load(CorpusSpec.model_validate(spec("pairs")))
    assert len(kept.classes) + len(held.classes) == 1797
    assert set(kept.classes) == set(held.classes) == set(range(10))
    assert len(held.classes) >= 100  # a share of so few already has an error of 5%
    assert not {picture.tobytes() for picture in kept.pictures} & {picture.tobytes() for picture in held.pictures}


def test_captions_are_true(training: digits.Digits) -> None:
    brightest = {"dim": 110, "grey": 175, "bright": 255}
    for number in range(300):
        scene = vision.scene(Draws("test", number), training)
        pixels, caption = scene.picture.pixels, scene.caption
        named = [digits.WORDS.index(word) for word in re.findall("|".join(digits.WORDS), caption)]
        assert named == list(scene.picture.digits)
        (look,) = [word for word in brightest if word in caption]
        assert brightest[look] * 3 // 4 <= pixels.max() <= brightest[look]
        mass = pixels.astype(float)
        down, across = (
            mass.sum(1) @ np.arange(len(pixels)) / mass.sum(),
            mass.sum(0) @ np.arange(pixels.shape[1]) / mass.sum(),
        )
        if "top" in caption:
            assert down < len(pixels) / 2
        if "bottom" in caption:
            assert down > len(pixels) / 2 - 1
        if "at the left" in caption or "top left" in caption:
            assert across < pixels.shape[1] / 2
        assert max(pixels.shape) <= 32
        assert not pixels.shape[0] % 8
        assert not pixels.shape[1] % 8


def test_captions_rarely_collide(training: digits.Digits) -> None:
    captions = [vision.scene(Draws("test", number), training).caption for number in range(1000)]
    assert len(set(captions)) > 700


def test_pairs_are_named_by_their_digits_and_fill_their_pictures(training: digits.Digits) -> None:
    seen = set()
    for number in range(300):
        made = vision.named(Draws("test", number), training)
        pixels, caption = made.picture.pixels, made.caption
        assert [digits.WORDS.index(word) for word in re.findall("|".join(digits.WORDS), caption)] == list(
            made.picture.digits
        )
        count, (height, width) = len(made.picture.digits), pixels.shape
        assert width == count * height
        assert not height % digits.SIDE
        assert width <= 4 * digits.SIDE
        lit = pixels.reshape(height, count, -1).max(axis=(0, 2))
        assert all(lit)  # each digit in its own half
        for look, level in vision.BRIGHTNESS:
            assert look not in caption or level * 3 // 4 <= pixels.max() <= level
        seen.add((count, height // digits.SIDE))
    assert seen == {(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)}


def test_answers_about_pictures_are_right(training: digits.Digits) -> None:
    for number in range(200):
        pictures, question, answer = vision.ask(Draws("test", number), training)
        shown = [digit for picture in pictures for digit in picture.digits]
        expected = {
            "Which digit is this?": shown[0],
            "How many digits are there?": len(shown),
            "Which digit is larger?": max(shown),
        }
        assert answer == digits.WORDS[expected[question]]


def test_clips_tell_how_often_the_digit_turned(training: digits.Digits) -> None:
    for number in range(60):
        frames, story = vision.clip(Draws("test", number), training, 20)
        centres = [picture.pixels.astype(float) for picture in frames]
        axis = 1 if "left" in story or "right" in story else 0
        line = np.arange(16)
        path = [frame.sum(1 - axis) @ line / frame.sum() for frame in centres]
        turns = int((np.diff(np.sign(np.round(np.diff(path)))) != 0).sum())
        told = re.search(r"turns (\d+) times in 20 frames", story)
        assert told
        assert int(told[1]) == turns
        assert (np.diff(path)[0] > 0) == ("right" in story or "down" in story)
