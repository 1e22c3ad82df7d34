"""A document before tokenisation: text, special tokens and images, each marked as supervised or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.data.draws import rank

# The special tokens and their ids. Fixed: models, exports and specs rely on them.
SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
PAD, BOS, EOS, IMAGE, IM_START, IM_END, THINK, END_THINK = range(8)

HELD_OUT_PER_MILLE = 40  # documents per thousand that no training range contains


@dataclass(frozen=True)
class Picture:
    """Grey pixels uint8 [H, W], and the digits drawn on it, left to right."""

    pixels: NDArray[np.uint8]
    digits: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A stretch of a document: text, one special token's id, or a picture (which becomes image tokens)."""

    content: str | int | Picture
    supervised: bool


@dataclass(frozen=True)
class Document:
    """`identity` names the document for ever: its rank decides the order. `heldout` documents are never trained on.

    Parts leave out BOS and EOS: every document gets exactly one of each.
    """

    identity: str
    parts: tuple[Part, ...]
    heldout: bool


def plain(identity: str, text: str, heldout: bool) -> Document:
    """A document of nothing but text, all of it supervised."""
    return Document(identity, (Part(text, True),), heldout)


def chat(identity: str, turns: Iterable[tuple[str, tuple[Part, ...]]], heldout: bool) -> Document:
    """A conversation in ChatML; only what the assistant says is supervised, with the <|im_end|> that closes it."""
    parts: list[Part] = []
    for role, said in turns:
        answer = role == "assistant"
        parts += (Part(IM_START, False), Part(f"{role}\n", False))
        parts += (Part(part.content, answer) for part in said)
        parts += (Part(IM_END, answer), Part("\n", False))
    return Document(identity, tuple(parts[:-1]), heldout)


def text_part(text: str) -> tuple[Part, ...]:
    """The content of a chat turn that is only text."""
    return (Part(text, True),)


def held_out(origin: str) -> bool:
    """Whether everything made from this origin (a module, a digit, a problem) is held out, in every corpus alike."""
    return rank("held out", origin) % 1000 < HELD_OUT_PER_MILLE
