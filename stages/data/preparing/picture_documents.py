"""A row with pictures as a document: its identity, what decides whether it is held out, what is cut into tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from stages.data.document import IMAGE, Document, Part, Picture, conversation
from stages.data.files.picture_rows import Found
from stages.data.tokens.chats import Chat


def origins(found: Found) -> list[str]:
    """What each picture is known by: its sides and a hash of its pixels, as they are kept."""
    return [
        f"{one.shape[0]} {one.shape[1]} {blake3(one.tobytes()).hexdigest()}"  # colours differ by their pixels
        for one in found.pictures
    ]


def identity(found: Found, pictures: Sequence[str]) -> str:
    """What the row is known by: its content, with each picture in its place."""
    if isinstance(found.content, str):
        return f"{pictures[0]} {found.content}"
    left = iter(pictures)
    if not isinstance(found.content, Chat):
        return json.dumps(_placed(found.content, left), sort_keys=True)
    messages = [{**turn.without_ids, "content": _placed(turn.content, left)} for turn in found.content.turns]
    tools = {"tools": found.content.tools} if found.content.tools else {}
    return json.dumps({"messages": messages, **tools}, sort_keys=True)


def origin(pictures: Sequence[str], known: str) -> str:
    """What decides whether a row is held out: its pictures, in any order; of a row without any, its identity.

    So everything about the same pictures is held out, or nothing of it.
    """
    return "\n".join(sorted(set(pictures))) or known


def document(found: Found, known: str, cell: int) -> Document:
    """Tokens are cut from this. Pictures have sides and no pixels; of pairs (`cell` 0) only the caption is there."""
    cells = [(one.shape[0] // cell) * (one.shape[1] // cell) if cell else 0 for one in found.pictures]
    if isinstance(found.content, Chat):
        messages = [turn.message for turn in found.content.turns]
        # Pictures of these sides that take no memory.
        sides = [Picture(np.broadcast_to(np.uint8(0), one.shape[:2]), ()) for one in found.pictures]
        return conversation(known, messages, False, found.content.tools, sides)
    texts = [{"type": "image"}, {"text": found.content}] if isinstance(found.content, str) else found.content
    left = iter(cells)
    parts = ([Part(part["text"], True)] if "text" in part else [Part(IMAGE, False)] * next(left) for part in texts)
    return Document(known, tuple(one for some in parts for one in some), False)


def _placed(content: Any, pictures: Iterator[str]) -> Any:
    """A content with what each picture is known by in its place."""
    if isinstance(content, str):
        return content
    return [part if "text" in part else {"type": "image", "picture": next(pictures)} for part in content]
