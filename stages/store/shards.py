"""Files with the sizes and digests that a record has of them, and what of a folder is not as recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import Field, StringConstraints

from stages.store.digest import Written, digest_found
from stages.store.json_file import Strict

Count = Annotated[int, Field(ge=0)]
Hex64 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Relative, and no part of it may be "." or "..": a manifest must not reach out of its folder.
File = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$")]


class Shard(Strict):
    """One file of the result: its path within the folder, its size in bytes, its blake3."""

    file: File
    size: Count
    blake3: Hex64


@dataclass(frozen=True)
class Problem:
    """Why a result is not what its manifest says."""

    file: Path
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.file}: expected {self.expected}, found {self.actual}"


def listed(written: Mapping[str, Written]) -> list[Shard]:
    """Files that were written, by their names, as a record lists them."""
    return [Shard(file=name, size=one.size, blake3=one.blake3) for name, one in written.items()]


def compare(folder: Path, shards: Iterable[Shard], deep: bool) -> list[Problem]:
    """What of a folder is not as these shards say."""
    found = (problem(folder / shard.file, shard, deep) for shard in shards)
    return [one for one in found if one is not None]


class Content(Protocol):
    """What a file contains: its size in bytes and its blake3."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def blake3(self) -> str:
        """64 hex digits."""


def problem(path: Path, shard: Content, deep: bool) -> Problem | None:
    """What of a file is not as declared: its size and, when `deep`, its digest; None if nothing."""
    if not path.is_file():
        return Problem(path, f"a file of {shard.size} bytes, blake3 {shard.blake3}", "nothing")
    size = path.stat().st_size
    if size != shard.size:
        now = f", blake3 {digest_found(path)}" if deep else ""
        return Problem(path, f"{shard.size} bytes, blake3 {shard.blake3}", f"{size} bytes{now}")
    if deep and (actual := digest_found(path)) != shard.blake3:
        return Problem(path, f"blake3 {shard.blake3}", f"blake3 {actual}")
    return None
