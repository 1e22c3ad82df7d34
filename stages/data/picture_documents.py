"""A row with pictures as a document: what names it for ever, what holds it out, and what is cut into tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from stages.data.chats import Chat
from stages.data.document import IMAGE, Document, Part, Picture, conversation
from stages.data.picture_rows import Found


def origins(found: Found) -> list[str]:
    """What each picture is known by: its sides and a hash of its pixels, as they are kept."""
    return [
        f"{one.shape[0]} {one.shape[1]} {blake3(one.tobytes()).hexdigest()}"  # colours differ by their pixels
        for one in found.pictures
    ]


def identity(found: Found, pictures: Sequence[str]) -> str:
    """What the row is known by: what is said, with each picture in its place."""
    if isinstance(found.said, str):
        return f"{pictures[0]} {found.said}"
    left = iter(pictures)
    if not isinstance(found.said, Chat):
        return json.dumps(_placed(found.said, left), sort_keys=True)
    said = [{**turn.without_ids, "content": _placed(turn.content, left)} for turn in found.said.turns]
    tools = {"tools": found.said.tools} if found.said.tools else {}
    return json.dumps({"messages": said, **tools}, sort_keys=True)


def origin(pictures: Sequence[str], known: str) -> str:
    """What holds a row out: its pictures, in whatever order; of a row without any, what it is known by.

    So all that is said of the same pictures is held out, or nothing of it.
    """
    return "\n".join(sorted(set(pictures))) or known


def document(found: Found, known: str, cell: int) -> Document:
    """Tokens are cut from this. Pictures have sides and no pixels; of pairs (`cell` 0) only the caption is there."""
    cells = [(one.shape[0] // cell) * (one.shape[1] // cell) if cell else 0 for one in found.pictures]
    if isinstance(found.said, Chat):
        said = [turn.message for turn in found.said.turns]
        return conversation(known, said, False, found.said.tools, [_sides(one.shape) for one in found.pictures])
    texts = [{"type": "image"}, {"text": found.said}] if isinstance(found.said, str) else found.said
    left = iter(cells)
    parts = ([Part(part["text"], True)] if "text" in part else [Part(IMAGE, False)] * next(left) for part in texts)
    return Document(known, tuple(one for some in parts for one in some), False)


def _placed(content: Any, pictures: Iterator[str]) -> Any:
    """A content with what each picture is known by in its place."""
    if isinstance(content, str):
        return content
    return [part if "text" in part else {"type": "image", "picture": next(pictures)} for part in content]


def _sides(shape: tuple[int, ...]) -> Picture:
    """A picture of these sides that takes no memory."""
    return Picture(np.broadcast_to(np.uint8(0), shape[:2]), ())
