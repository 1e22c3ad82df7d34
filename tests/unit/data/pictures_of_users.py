"""Pictures, tars and rows as people have them, for the tests of pictures of one's own."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.unit.data.small import Small, write_spec

PARAMETERS = {"cell": 8, "patch": 4, "channels": 1, "side": 16}
Members = Sequence[tuple[str, bytes]]


def saved(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def grey(number: int, height: int = 16, width: int = 16) -> Image.Image:
    """Pixels that are another picture for each number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8))


def png(number: int) -> bytes:
    return saved(grey(number))


def rows(count: int) -> list[tuple[str, bytes, str]]:
    """Key, file and caption, with sizes of several kinds."""
    sides = [(16, 16), (8, 16), (24, 8), (40, 64)]
    return [(f"{n:04d}", saved(grey(n, *sides[n % 4])), f"picture {n}") for n in range(count)]


def tar(path: Path, members: Members) -> None:
    with tarfile.open(path, "w") as out:
        for name, data in members:
            out.addfile(info(name, size=len(data)), io.BytesIO(data))


def info(name: str, **fields: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def members(found: Sequence[tuple[str, bytes, str]]) -> list[tuple[str, bytes]]:
    return [one for key, data, said in found for one in ((f"{key}.png", data), (f"{key}.txt", said.encode()))]


def jsonl(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def listed(root: Path, found: Sequence[tuple[str, bytes, str]]) -> None:
    """The same rows as JSONL, with their pictures in a folder."""
    (root / "pictures").mkdir(exist_ok=True)
    for key, data, _ in found:
        (root / "pictures" / f"{key}.png").write_bytes(data)
    jsonl(root / "rows.jsonl", [{"image": f"pictures/{key}.png", "text": said} for key, _, said in found])


def declare(project: Small, path: object, kind: str = "pairs", **more: Any) -> None:
    unit = "items" if kind == "pairs" else "tokens"
    content = {"corpus": "mine", "kind": kind, "unit": unit, "builder": "pictures", "path": path}
    write_spec(project.root, "mine", {**content, "parameters": PARAMETERS, **more})
