"""Signed statements about finished stages: in-toto statements in DSSE envelopes, checked against what is on the disk.

The subject of a statement is the root of a Merkle tree over the files of a result (RFC 6962, 2.1, with BLAKE3): leaves
are the digests that its manifest and its seal have already, so nothing is hashed in a second way. The predicate has the
key, the roots of the parents, counters, budgets, environment and code, and the digest of every file, so that a changed
file is named. Envelope: https://github.com/secure-systems-lab/dsse; statement: https://in-toto.io/Statement/v1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from blake3 import blake3
from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from stages.errors import UserError
from stages.store import damage, json_file, manifest, run_record, seal, stage_record, trees
from stages.store.digest import digest_file
from stages.store.json_file import JsonFileError, MissingFileError
from stages.store.layout import Layout
from stages.store.manifest import Ref
from stages.store.shards import Hex64

if TYPE_CHECKING:
    from securesystemslib.signer import Key, Signer

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:stages:finished-stage:v1"
PAYLOAD = "application/vnd.in-toto+json"
SUFFIX = ".dsse.json"


class ParentRoot(json_file.Strict):
    """A parent: its key, and the root of its files when the child was signed."""

    key: str
    root: str


class Predicate(json_file.Strict):
    """What a stage was made from and by; `files`: path within the folder -> blake3."""

    key: str
    scale: str
    tier: str
    stand_in: bool
    parents: dict[Ref, ParentRoot]
    counters: dict[str, int | float]
    budgets: dict[str, int]
    environment: str
    code: str
    files: dict[Annotated[str, StringConstraints(pattern=seal.INSIDE)], Hex64]


class _Subject(json_file.Strict):
    name: str
    digest: dict[str, str]


class Statement(json_file.Strict):
    """The payload of an envelope."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[_Subject], Field(min_length=1, max_length=1)]
    predicate_type: Literal["urn:stages:finished-stage:v1"] = Field(alias="predicateType")
    predicate: Predicate


class _Signature(BaseModel):
    keyid: str
    sig: str


class _Envelope(BaseModel):
    """What of an envelope is read; others may sign too, and add fields."""

    payload: str
    payloadType: str  # noqa: N815 - the name that DSSE gives it
    signatures: list[_Signature]


_STATEMENT, _ENVELOPE = TypeAdapter(Statement), TypeAdapter(_Envelope)


def envelope_of(folder: Path) -> Path:
    """Where the envelope of a result lies: next to its folder."""
    return folder.with_name(folder.name + SUFFIX)


def files_of(folder: Path) -> dict[str, str]:
    """Digest of every file of a result, as manifest and seal have them, and of the seal itself.

    Raises ManifestError and JsonFileError.
    """
    shards = {shard.file: shard.blake3 for shard in manifest.read(folder / manifest.NAME).shards}
    return {**shards, **seal.read(folder).files, seal.NAME: digest_file(folder / seal.NAME)}


def root(digests: Mapping[str, str]) -> str:
    """The Merkle root over files and their digests, in the order of names. Raises ValueError where there are none."""
    level = [blake3(b"\0" + f"{file}\0{digest}".encode()).digest() for file, digest in sorted(digests.items())]
    if not level:
        raise ValueError("a tree without leaves has no root")
    while len(level) > 1:  # an odd one at the end is taken over as it is
        pairs = [level[place : place + 2] for place in range(0, len(level), 2)]
        level = [blake3(b"\1" + b"".join(pair)).digest() if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0].hex()


def sign(layout: Layout, ref: str, signer: Signer) -> Path:
    """Write the envelope of a finished stage, which is read in full before. Raises UserError where it is damaged."""
    from securesystemslib.dsse import Envelope

    folder = layout.stage(ref)
    broken = damage.problems(folder)
    if broken:
        raise UserError(f"{ref} is not signed: {'; '.join(map(str, broken))}")
    payload = json.dumps(_statement(layout, ref), sort_keys=True, allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD, {})
    envelope.sign(signer)
    json_file.write(envelope_of(folder), envelope.to_dict())
    return envelope_of(folder)


def _statement(layout: Layout, ref: str) -> dict[str, Any]:
    folder = layout.stage(ref)
    record, stage, found = manifest.read(folder / manifest.NAME), stage_record.read(folder), files_of(folder)
    environment = run_record.read(folder).environment
    parents = {}
    for parent, built_on in record.parents.items():
        place = layout.stage(manifest.renamed(layout, parent, built_on.key))
        parents[parent] = {"key": built_on.key, "root": root(files_of(place))}
    predicate = {
        "key": record.key, "scale": layout.scale, "tier": record.tier, "stand_in": record.stand_in, "parents": parents,
        "counters": record.counters, "budgets": {phase.name: phase.budget for phase in stage.phases},
        "environment": str(environment.id), "code": str(environment.code), "files": found,
    }  # fmt: skip
    subject = [{"name": ref, "digest": {"blake3": root(found)}}]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": predicate}


def problems(folder: Path, key: Key) -> Iterator[str]:
    """What of a result, of its statement and of those of its ancestors is not as it was signed with this key."""
    seen: set[Path] = set()
    yield from _problems(folder, key, None, seen)


def _problems(folder: Path, key: Key, wanted: ParentRoot | None, seen: set[Path]) -> Iterator[str]:
    if folder in seen:
        return
    seen.add(folder)
    found = _read(folder, key)
    if isinstance(found, str):
        yield found
        return
    name, signed = found.subject[0].name, found.subject[0].digest["blake3"]
    if folder.parts[-2:] != tuple(name.split("/")):
        yield f"{folder}: its statement is about {name}"
    if wanted is not None and (wanted.key, wanted.root) != (found.predicate.key, signed):
        yield f"{folder}: is signed as key {found.predicate.key}, root {signed}; its child was made from {wanted.root}"
    yield from _changed(folder, found.predicate.files)
    for parent, built_on in found.predicate.parents.items():
        yield from _problems(folder.parents[1] / parent, key, built_on, seen)


def _read(folder: Path, key: Key) -> Statement | str:
    """The statement about a result, or why there is none that can be trusted."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    path = envelope_of(folder)
    try:
        envelope = Envelope.from_dict(json_file.read_as(path, _ENVELOPE).model_dump())
        envelope.verify([key], 1)
        if envelope.payload_type != PAYLOAD:
            return f"{path}: payload type {envelope.payload_type}; allowed: {PAYLOAD}"
        found = _STATEMENT.validate_json(envelope.payload)
        if found.subject[0].digest != {"blake3": root(found.predicate.files)}:
            return f"{path}: its subject is not the root of the files that it lists"
    except MissingFileError:
        typed = f"stages sign {folder.parent.name}/{folder.name} --scale {folder.parents[1].name} --key FILE"
        return f"{path}: is not there; whoever has the private key writes it: `{typed}`"
    except JsonFileError as error:
        return str(error)
    except VerificationError:
        return f"{path}: not signed with this key, or changed since it was signed"
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        return f"{path}: not an envelope of a statement ({type(error).__name__})"
    return found


def _changed(folder: Path, signed: Mapping[str, str]) -> Iterator[str]:
    for file, digest in sorted(signed.items()):
        path = folder / file
        try:
            found = digest_file(path) if path.is_file() and not path.is_symlink() else "nothing"
        except OSError as error:
            found = f"nothing that can be read ({error.strerror})"
        if found != digest:
            yield f"{path}: signed as blake3 {digest}, found {found}"
    for file in trees.files_under(folder) if folder.is_dir() else ():
        if file not in signed and not file.startswith("plots/") and file != damage.NAME:
            yield f"{folder / file}: a file that is not signed"
