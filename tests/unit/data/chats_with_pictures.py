"""Rows of chats with pictures, in files, and the tokenizer that writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.data.tokens import tokenizer_files
from stages.data.tokens.tokenizer_declared import declared
from tests.unit.data import published
from tests.unit.data.pictures_of_users import jsonl, saved
from tests.unit.data.small import Small

URL = "data:image/png;base64,"
SIDES = [(16, 16), (8, 16), (24, 8), (40, 64)]


def coloured(number: int) -> Image.Image:
    """Pixels of three channels that are another picture for each number."""
    height, width = SIDES[number % 4]
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8))


def publish(project: Small, template: str) -> None:
    written = published.write(project.root, template=template)
    found = declared(project.root, tokenizer_files.load(project.root, "mine", declared=False), check=False)
    published.save(project.root, {**written, "digest": found.digest, "vocab": found.open().vocab})


def picture(name: str) -> dict[str, str]:
    return {"type": "image", "image": name}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def ask(number: int, content: object, answer: str = "two") -> dict[str, Any]:
    said = answer if number % 2 else [text(answer)]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": said}]}


def used(row: object) -> list[str]:
    return [name for name in (f"{n}.{k}.png" for n in range(60) for k in (0, 1)) if f'"{name}"' in json.dumps(row)]


def in_files(root: Path, found: Sequence[dict[str, Any]]) -> None:
    for row in found:
        for name in used(row):
            (root / name).write_bytes(saved(coloured(int(name[:-6]) * 2 + int(name[-5]))))
    jsonl(root / "rows.jsonl", found)
