"""A document before tokenisation: text, special tokens and images, each marked as supervised or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.data.draws import rank

# The special tokens of the local tokenizer and their ids, one for each role of `roles.Roles`. A part of a document
# names a special token by this number, whatever id the tokenizer that it is cut with gives to the role.
SPECIAL = ("<pad>", "<bos>", "<eos>", "<image>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
PAD, BOS, EOS, IMAGE, IM_START, IM_END, THINK, END_THINK = range(8)

HELD_OUT_PER_MILLE = 40  # documents per thousand that no training range contains


@dataclass(frozen=True)
class Picture:
    """Pixels uint8, grey [H, W] or RGB [H, W, 3], and the digits drawn on it, left to right."""

    pixels: NDArray[np.uint8]
    digits: tuple[int, ...]


class Part(NamedTuple):
    """A stretch of a document: text, a special token by its role's number, or a picture (it becomes image tokens)."""

    content: str | int | Picture
    supervised: bool


@dataclass(frozen=True)
class Conversation:
    """What a chat template is given: messages and tools as transformers takes them, and the pictures of their parts.

    A message is {"role", "content"} and whatever else the template knows (tool_calls, name); content is a text, or a
    list of {"type": "text", "text"} and {"type": "image"}, whose pictures come in the same order. Answers before
    message `first` are a prompt's, and not learned.
    """

    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Any, ...] | None
    pictures: tuple[Picture, ...]
    first: int = 0


@dataclass(frozen=True)
class Document:
    """`identity` names the document and never changes: its rank decides the order. `heldout`: it is never trained on.

    Parts leave out BOS and EOS: every document gets exactly one of each, as far as the tokenizer has them. A
    `conversation` is rendered by the chat template of a published tokenizer; for the local one its parts count, which
    are empty where ChatML has no words for it. One answer of a conversation that is a document of its own is `part_of`
    that: the conversation's identity. A pair of answers is one document, the one with the chosen answer, that has the
    one with the `rejected` answer; both are `part_of` their prompt.
    """

    identity: str
    parts: tuple[Part, ...]
    heldout: bool
    conversation: Conversation | None = None
    part_of: str | None = None
    rejected: Document | None = None

    @property
    def sides(self) -> tuple[Document, ...]:
        """A pair's two documents, the chosen one first; of any other document itself."""
        return (self,) if self.rejected is None else (replace(self, rejected=None), self.rejected)

    @property
    def origin(self) -> str:
        """What decides whether it is held out: all answers of a conversation, or to a prompt, are, or none."""
        return self.identity if self.part_of is None else self.part_of


def plain(identity: str, text: str, heldout: bool) -> Document:
    """A document of nothing but text, all of it supervised."""
    return Document(identity, (Part(text, True),), heldout)


def chat(identity: str, turns: Iterable[tuple[str, tuple[Part, ...]]], heldout: bool, first: int = 0) -> Document:
    """A conversation in ChatML; only what the assistant says is supervised, with the <|im_end|> that closes it.

    Turns before `first` are a prompt's, and none of them is.
    """
    parts: list[Part] = []
    for place, (role, content) in enumerate(turns):
        answer = role == "assistant" and place >= first
        parts += (Part(IM_START, False), Part(f"{role}\n", False))
        parts += (Part(part.content, answer) for part in content)
        parts += (Part(IM_END, answer), Part("\n", False))
    return Document(identity, tuple(parts[:-1]), heldout)


def conversation(
    identity: str,
    messages: Sequence[Mapping[str, Any]],
    heldout: bool,
    tools: Sequence[Any] | None = None,
    pictures: Sequence[Picture] = (),
    first: int = 0,
) -> Document:
    """A conversation for any tokenizer: `Conversation` for a chat template, parts in ChatML for the local tokenizer."""
    given = Conversation(tuple(messages), None if tools is None else tuple(tools), tuple(pictures), first)
    made = chat(identity, _turns(given), heldout, first) if _in_chatml(given) else Document(identity, (), heldout)
    return replace(made, conversation=given)


def _in_chatml(given: Conversation) -> bool:
    """Whether roles, texts and pictures are all that there is, a picture for each place of one."""
    contents = [message.get("content") for message in given.messages if set(message) == {"role", "content"}]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    known = all(isinstance(content, (str, list, tuple)) for content in contents)
    shown = sum(part.get("type") == "image" for part in parts)
    worded = all(part.get("type") == "image" or isinstance(part.get("text"), str) for part in parts)
    whole = given.tools is None and len(contents) == len(given.messages)
    return whole and known and worded and shown == len(given.pictures)


def _turns(given: Conversation) -> Iterable[tuple[str, tuple[Part, ...]]]:
    pictures = iter(given.pictures)
    for message in given.messages:
        content = message["content"]
        if isinstance(content, str):
            yield message["role"], text_part(content)
        else:
            parts = (next(pictures) if part["type"] == "image" else part["text"] for part in content)
            yield message["role"], tuple(Part(one, not isinstance(one, Picture)) for one in parts)


def text_part(text: str) -> tuple[Part, ...]:
    """The content of a chat turn that is only text."""
    return (Part(text, True),)


def held_out(origin: str) -> bool:
    """Whether everything made from this origin (a module, a digit, a problem) is held out, in every corpus alike."""
    return rank("held out", origin) % 1000 < HELD_OUT_PER_MILLE
