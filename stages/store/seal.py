"""seal.json: digests of what the manifest does not cover, the manifest itself among it, so that no damage is unseen.

The manifest covers what a rerun makes again bit for bit. run.json, stage.json and timing.csv may differ from run to
run, so their digests must stay out of it; and a manifest cannot hold its own. The seal is checked by a deep look only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from stages.store import files
from stages.store.digest import digest_bytes, digest_file
from stages.store.manifest import Problem, Shard

NAME = "seal.json"


class Listing(Protocol):
    """A manifest of any kind: what it covers needs no seal."""

    @property
    def shards(self) -> Sequence[Shard]:
        """The files that it holds digests of."""


def write(folder: Path, manifest_name: str, manifest_bytes: bytes, record: Listing) -> None:
    """Seal a folder that is complete but for its manifest, whose bytes are given."""
    covered = {shard.file for shard in record.shards}
    digests = {file: digest_file(folder / file) for file in files.files_under(folder) if file not in covered}
    digests[manifest_name] = digest_bytes(manifest_bytes)
    text = json.dumps({"files": digests, "seal": _own(digests)}, sort_keys=True, indent=2) + "\n"
    files.write_atomic(folder / NAME, text.encode())


def problems(folder: Path) -> list[Problem]:
    """What does not agree with the seal; a missing one counts, as it was written before the manifest."""
    path = folder / NAME
    if not path.is_file():
        return [Problem(path, "a seal with the digests of manifest.json, run.json and others", "nothing")]
    actual = digest_file(path)
    try:
        raw = json.loads(path.read_bytes())
        digests = {str(file): str(digest) for file, digest in raw["files"].items()}
        own = str(raw["seal"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Problem(path, "a readable seal", f"blake3 {actual}")]
    if own != _own(digests) or set(raw) != {"files", "seal"}:
        return [Problem(path, f"digests that come to blake3 {own}", f"blake3 {_own(digests)}")]
    found = (_problem(folder / file, digest) for file, digest in digests.items())
    return [problem for problem in found if problem is not None]


def _problem(path: Path, digest: str) -> Problem | None:
    actual = f"blake3 {digest_file(path)}" if path.is_file() else "nothing"
    return None if actual == f"blake3 {digest}" else Problem(path, f"blake3 {digest}", actual)


def _own(digests: Mapping[str, str]) -> str:
    return digest_bytes(json.dumps(dict(digests), sort_keys=True).encode())
