"""seal.json: digests of what the manifest does not cover, the manifest itself among it, so that no damage is unseen.

The manifest covers what a rerun makes again bit for bit. run.json, stage.json and timing.csv may differ from run to
run, so their digests must stay out of it; and a manifest cannot have its own. The seal is checked by a deep check only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import StringConstraints, TypeAdapter

from stages.store import json_file, trees
from stages.store.digest import Written, digest_bytes, digest_file, digest_found
from stages.store.json_file import JsonFileError
from stages.store.shards import Problem, Shard

NAME = "seal.json"
INSIDE = r"^[^/\x00]+(/[^/\x00]+)*$"  # no path from the root


class Listing(Protocol):
    """A manifest of any kind: what it covers needs no seal."""

    @property
    def shards(self) -> Sequence[Shard]:
        """The files that it contains digests of."""


class Seal(json_file.Strict):
    """seal.json: file within the folder -> blake3, and the blake3 of these digests themselves."""

    files: dict[Annotated[str, StringConstraints(pattern=INSIDE)], str]
    seal: str


_SEAL = TypeAdapter(Seal)


def write(
    folder: Path,
    manifest_name: str,
    manifest_bytes: bytes,
    record: Listing,
    later: Collection[str] = (),
    written: Mapping[Path, Written] | None = None,
) -> None:
    """Seal a folder that is complete except for its manifest, whose bytes are given.

    `later`: files that the manifest lists and that were replaced since; the seal has their digests. `written`: what the
    run wrote, hashed on the way; where it is given, nothing is read again and no other file is sealed, so that a deep
    check names what others put there.
    """
    covered = {shard.file for shard in record.shards} - set(later)
    there = [file for file in trees.files_under(folder) if file not in covered]
    if written is None:
        digests = {file: digest_file(folder / file) for file in there}
    else:
        digests = {file: written[folder / file].blake3 for file in there if folder / file in written}
    digests[manifest_name] = digest_bytes(manifest_bytes)
    json_file.write(folder / NAME, {"files": digests, "seal": _own(digests)})


def read(folder: Path) -> Seal:
    """The seal of a folder. Raises JsonFileError."""
    return json_file.read_as(folder / NAME, _SEAL)


def later(folder: Path, record: Listing) -> set[str]:
    """The files of a manifest that were replaced after it was written; none where there is no seal to say so."""
    try:
        return read(folder).files.keys() & {shard.file for shard in record.shards}
    except JsonFileError:
        return set()


def problems(folder: Path) -> list[Problem]:
    """What does not agree with the seal; a missing one counts, as it was written before the manifest."""
    path = folder / NAME
    if not path.is_file():
        return [Problem(path, "a seal with the digests of manifest.json, run.json and others", "nothing")]
    try:
        sealed = read(folder)
    except JsonFileError as error:
        return [Problem(path, "a readable seal", f"blake3 {digest_found(path)} ({error.reason})")]
    if sealed.seal != _own(sealed.files):
        return [Problem(path, f"digests that come to blake3 {sealed.seal}", f"blake3 {_own(sealed.files)}")]
    found = (_problem(folder / file, digest) for file, digest in sealed.files.items())
    return [problem for problem in found if problem is not None]


def _problem(path: Path, digest: str) -> Problem | None:
    actual = f"blake3 {digest_found(path)}" if path.is_file() else "nothing"
    return None if actual == f"blake3 {digest}" else Problem(path, f"blake3 {digest}", actual)


def _own(digests: Mapping[str, str]) -> str:
    return digest_bytes(json.dumps(dict(digests), sort_keys=True, allow_nan=False).encode())
