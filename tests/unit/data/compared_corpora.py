"""A corpus and others that it is compared with, for the tests of what it leaves out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from tests.unit.data.own_files import texts
from tests.unit.data.small import Small, write_spec

OWN = [f"document {number} of my own, with a few words that nobody else has" for number in range(60)]
THEIRS = [f"text {number} of theirs, which others copy" for number in range(30)]
EXAM = [f"exam {number}: what is the sum of {number} and {number + 7}, and why is it larger" for number in range(20)]


def rows(root: Path, name: str, said: list[str], how: str = "jsonl") -> str:
    """A file of these texts, and its path."""
    data = b"".join(json.dumps({"text": one}).encode() + b"\n" for one in said)
    if how == "txt":
        data = "\n\n".join(said).encode()
    (root / f"{name}.{how}").write_bytes(gzip.compress(data) if how.endswith("gz") else data)
    return f"{name}.{how}"


def declare(project: Small, name: str, path: str, **more: Any) -> None:
    kind = more.pop("kind", "text")
    content = {"corpus": name, "kind": kind, "unit": "tokens", "builder": "file", "path": path}
    write_spec(project.root, name, {**content, **more})


def said(project: Small) -> list[str]:
    return sorted(one.removeprefix("<bos>").removesuffix("<eos>") for one in texts(project))


def exam(project: Small, mixed: list[str], against: dict[str, str], words: int = 6, found: str = "remove") -> None:
    declare(project, "exam", rows(project.root, "exam", EXAM))
    more = {"decontaminate": {"against": against, "words": words, "found": found}}
    declare(project, "mine", rows(project.root, "mine", mixed), **more)


QUOTED = f"They asked us:  WHAT, is the SUM of 3 and 10; and why! Nobody knew. {OWN[3]}"
