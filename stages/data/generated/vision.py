"""Picture corpora made from the digits: captions, questions, moving-digit clips, and image-caption pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.data.document import Document, Part, Picture, chat, held_out, text_part
from stages.data.draws import Draws
from stages.data.generated import digits as digits_file
from stages.data.generated.digits import SIDE, WORDS, Digits, paste
from stages.data.spec import CorpusSpec

BRIGHTNESS = (("dim", 110), ("grey", 175), ("bright", 255))
SIZES = ("small", "medium", "large")
TEMPLATES = ("a {look} {words}", "the {look} {words}", "the number {words}", "a {look} number {words}", "a {words}")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
CELL = 8  # canvases are multiples of this, the side of one <image> token at patch 4 and merge 2


@dataclass(frozen=True)
class Scene:
    """A picture and the words for it."""

    picture: Picture
    caption: str


def pairs(spec: CorpusSpec) -> Iterator[Document]:
    """Image and caption, for contrastive training: one picture per document, native sizes vary."""
    for identity, draws, digits, heldout in _items(spec, "pair"):
        made = named(draws, digits)
        yield Document(identity, (Part(made.picture, False), Part(made.caption, True)), heldout)


def captions(spec: CorpusSpec) -> Iterator[Document]:
    """Image, then caption, as one stream of tokens."""
    for identity, draws, digits, heldout in _items(spec, "caption"):
        made = scene(draws, digits)
        yield Document(identity, (Part(made.picture, False), Part(made.caption, True)), heldout)


def digit_qa(spec: CorpusSpec) -> Iterator[Document]:
    """One or two pictures, a question about them, and its answer, in chat form."""
    for identity, draws, digits, heldout in _items(spec, "digit_qa"):
        pictures, question, answer = ask(draws, digits)
        prompt = (*(Part(picture, False) for picture in pictures), Part(question, True))
        document = chat(identity, (("user", prompt), ("assistant", text_part(answer))), heldout)
        # In a pre-training stream all text is learned from; only pictures are not.
        yield Document(identity, tuple(Part(p.content, True) for p in document.parts), heldout)


def clips(spec: CorpusSpec) -> Iterator[Document]:
    """Frames of a moving digit, with the time before each, then what happened."""
    for identity, draws, digits, heldout in _items(spec, "clip"):
        count = draws.between(spec.number("least_frames"), spec.number("most_frames"))
        frames, story = clip(draws, digits, count)
        parts: list[Part] = []
        for time, frame in enumerate(frames):
            parts += (Part(f"{time}s", True), Part(frame, False))
        yield Document(identity, (*parts, Part(f"\n{story}", True)), heldout)


def scene(draws: Draws, digits: Digits) -> Scene:
    """One to three digits on a canvas of 16 to 32 pixels a side, and a caption that names them and their look."""
    count = draws.choice((1, 1, 1, 2, 3))
    look, level = draws.choice(BRIGHTNESS)
    shown = tuple(draws.below(10) for _ in range(count))
    if count == 1:
        return _single(draws, digits, shown[0], look, level)
    height = CELL * draws.between(1, 3)
    width = CELL * count
    canvas = _canvas(height, width)
    places = [draws.below(height - SIDE + 1) for _ in shown]
    for column, (digit, top) in enumerate(zip(shown, places, strict=True)):
        paste(canvas, digits.draw(draws, digit), top, column * SIDE, 1, level)
    names = ", ".join(WORDS[digit] for digit in shown)
    shape = "in a row" if height == CELL else "spread out" if height == 2 * CELL else "far apart"
    return Scene(Picture(canvas, shown), f"{len(shown)} {look} digits {shape}: {names}")


def named(draws: Draws, digits: Digits) -> Scene:
    """One digit that fills a canvas of 8 to 24 pixels a side, or two side by side, and a short caption that names them.

    The digit is nearly all that tells one picture from another, so matching pictures and captions means reading it.
    Large pictures are the rarer ones: they are read at full size only in the last part of the training.
    """
    look, level = draws.choice(BRIGHTNESS)
    count = draws.choice((1, 1, 1, 1, 2))
    scale = draws.choice((1, 1, 2, 2, 3)) if count == 1 else draws.choice((1, 2))
    shown = tuple(draws.below(10) for _ in range(count))
    canvas = _canvas(SIDE * scale, SIDE * scale * count)
    for column, digit in enumerate(shown):
        paste(canvas, digits.draw(draws, digit), 0, column * SIDE * scale, scale, level)
    words = ", ".join(WORDS[digit] for digit in shown)
    return Scene(Picture(canvas, shown), draws.choice(TEMPLATES).format(look=look, words=words))


def ask(draws: Draws, digits: Digits) -> tuple[tuple[Picture, ...], str, str]:
    """(pictures, question, answer) about one or two plain pictures."""
    form = draws.below(4)
    first = draws.below(10)
    if form <= 1:
        return (plain_digit(draws, digits, first),), "Which digit is this?", WORDS[first]
    if form == 2:
        count = draws.between(1, 3)
        canvas = _canvas(SIDE, SIDE * count)
        shown = tuple(draws.below(10) for _ in range(count))
        for column, digit in enumerate(shown):
            paste(canvas, digits.draw(draws, digit), 0, column * SIDE, 1, 255)
        return (Picture(canvas, shown),), "How many digits are there?", WORDS[count]
    second = (first + draws.between(1, 9)) % 10
    both = (plain_digit(draws, digits, first), plain_digit(draws, digits, second))
    return both, "Which digit is larger?", WORDS[max(first, second)]


def plain_digit(draws: Draws, digits: Digits, digit: int) -> Picture:
    """A bright digit that fills a canvas of 16 x 16 pixels: what zero-shot classification and questions show."""
    canvas = _canvas(2 * SIDE, 2 * SIDE)
    paste(canvas, digits.draw(draws, digit), 0, 0, 2, 255)
    return Picture(canvas, (digit,))


def clip(draws: Draws, digits: Digits, frames: int) -> tuple[list[Picture], str]:
    """A digit that moves one pixel a frame over a 16 x 16 canvas, bouncing, and a description of it."""
    digit = draws.below(10)
    picture = digits.draw(draws, digit)
    across = draws.below(2)
    place, other, step = draws.below(SIDE + 1), draws.below(SIDE + 1), draws.choice((-1, 1))
    step = 1 if place == 0 else -1 if place == SIDE else step
    way = (("up", "down"), ("left", "right"))[across][step > 0]
    out, turns = [], 0
    for time in range(frames):
        canvas = _canvas(2 * SIDE, 2 * SIDE)
        top, left = (other, place) if across else (place, other)
        paste(canvas, picture, top, left, 1, 255)
        out.append(Picture(canvas, (digit,)))
        if not 0 <= place + step <= SIDE:
            step = -step
            turns += time < frames - 1  # a turn after the last frame is not seen
        place += step
    return out, f"A {WORDS[digit]} moves {way} first and turns {turns} times in {frames} frames."


def _single(draws: Draws, digits: Digits, digit: int, look: str, level: int) -> Scene:
    size = draws.below(3)
    side = SIDE * (size + 1)
    height, width = (CELL * draws.between(max(2, size + 1), 4) for _ in range(2))
    row, column = draws.below(3), draws.below(3)
    canvas = _canvas(height, width)
    paste(canvas, digits.draw(draws, digit), (height - side) * row // 2, (width - side) * column // 2, size + 1, level)
    # A digit that fills a direction has no place along it.
    place = " ".join(word for word, several in ((ROWS[row], height > side), (COLUMNS[column], width > side)) if several)
    where = f" at the {place}" if place else ""
    return Scene(Picture(canvas, (digit,)), f"a {look} {SIZES[size]} {WORDS[digit]}{where}")


def _items(spec: CorpusSpec, word: str) -> Iterator[tuple[str, Draws, Digits, bool]]:
    training, others = digits_file.load(spec)
    for number in range(spec.number("count")):
        identity = f"{word} {number}"
        heldout = held_out(identity)
        yield identity, Draws(identity), others if heldout else training, heldout


def _canvas(height: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((height, width), dtype=np.uint8)
