"""manifest.json: what a finished result is. Deterministic: the same run gives the same bytes, hence the same digest.

Time, host and environment go into run.json, which no digest covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from stages.errors import UserError
from stages.store import files, json_file, trees
from stages.store.digest import Written, digest_bytes, measure
from stages.store.json_file import JsonFileError, Strict
from stages.store.layout import Layout
from stages.store.shards import Hex64, Problem, Shard, compare, listed

NAME = "manifest.json"
REPLACED = "eval.json"  # the one file of a result that may be replaced after its manifest was written
HANDED_ON = ("model/", "state/")  # the files of a result that its children read

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Ref = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")]


class ManifestError(UserError):
    """A manifest that cannot be trusted: unreadable, incomplete, or with fields of the wrong kind."""


class Parent(Strict):
    """What was built on: the parent's key, and what its manifest came to then (`identity`).

    Records of before there was an identity have the digest of the bytes of manifest.json.
    """

    key: Hex32
    manifest: Hex64


class Manifest(Strict):
    """A finished result. `points_to` is set for `keep` stages, which are a pointer and have no shards."""

    schema_version: Literal[1]
    stage: Ref
    key: Hex32
    tier: Literal["bit-exact", "same-order", "statistical"]
    stand_in: bool
    parents: dict[Ref, Parent]
    points_to: Ref | None
    counters: dict[str, int | float]
    shards: Annotated[list[Shard], Field(strict=False)]


_MANIFEST = TypeAdapter(Manifest)


def shards(folder: Path, parts: Iterable[str], written: Mapping[Path, Written] | None = None) -> list[Shard]:
    """The files that make the result: each of `parts` is a file or a folder inside `folder`, if it exists.

    Files in `written` were hashed while they were written, so their digests are of what was meant, whatever the disk
    made of it. Where it is given, no other file is one of the result: a synchronisation may have put some there.
    """
    found: list[str] = []
    for part in parts:
        path = folder / part
        if path.is_dir():
            found += [f"{part}/{file}" for file in trees.files_under(path)]
        elif path.is_file():
            found.append(part)
    if written is None:
        sums = {file: measure(folder / file) for file in sorted(found)}
    else:
        sums = {file: written[folder / file] for file in sorted(found) if folder / file in written}
    return listed(sums)


def encode(manifest: Manifest) -> bytes:
    """The bytes of manifest.json: sorted keys, two spaces, a closing newline."""
    return json_file.encode(manifest.model_dump(mode="json"))


def write(folder: Path, manifest: Manifest) -> str:
    """Write `folder`/manifest.json (last of all files: its presence says that the rest is there); its digest."""
    data = encode(manifest)
    files.write_atomic(folder / NAME, data)
    return digest_bytes(data)


def read(path: Path) -> Manifest:
    """Read and check a manifest.json; raises ManifestError naming the file and the field, never a traceback."""
    return _parse(path, _bytes(path))


def read_with_digest(path: Path) -> tuple[Manifest, str]:
    """Read a manifest and the blake3 of its bytes, from one read of the file."""
    data = _bytes(path)
    return _parse(path, data), digest_bytes(data)


def _bytes(path: Path) -> bytes:
    try:
        return json_file.read_bytes(path)
    except JsonFileError as error:
        raise ManifestError(f"{error}. Rerun the stage that writes it.") from None


def _parse(path: Path, data: bytes) -> Manifest:
    try:
        return json_file.parse_as(data, path, _MANIFEST)
    except JsonFileError as error:
        raise ManifestError(f"{error}. Move it away and rerun the stage.") from None


def identity(manifest: Manifest) -> str:
    """What children receive, as a digest: weights, state and counters; of a pointer, what it points to.

    Names, evaluations and metrics are left out: a rename, or another evaluation, makes no other parent of it.
    """
    received = [shard.model_dump() for shard in manifest.shards if shard.file.startswith(HANDED_ON)]
    pointed_to = [] if manifest.points_to is None else sorted(parent.manifest for parent in manifest.parents.values())
    text = json_file.encode([received, manifest.counters, pointed_to], indent=None)
    return digest_bytes(text)


def is_parent(manifest: Manifest, of_bytes: str, parent: Parent) -> bool:
    """Whether a manifest, the digest of whose bytes is `of_bytes`, is the one that a record of a parent means."""
    return manifest.key == parent.key and parent.manifest in (identity(manifest), of_bytes)


def verify(folder: Path, deep: bool) -> list[Problem]:
    """Compare a result with its manifest: every shard there with its size and, when `deep`, its blake3.

    Raises ManifestError when the manifest itself cannot be read.
    """
    return problems(folder, read(folder / NAME), deep)


def problems(folder: Path, manifest: Manifest, deep: bool) -> list[Problem]:
    """`verify` for a manifest that has been read already.

    Evaluations may be made again: the seal then lists their digests, and not the manifest.
    """
    found = compare(folder, manifest.shards, deep)
    path = folder / REPLACED
    return [one for one in found if one.file != path or not path.is_file() or not _replaced(folder)]


def _replaced(folder: Path) -> bool:
    """Whether the seal, and not the manifest, has the digest of the file that may be replaced."""
    try:
        return REPLACED in json_file.read(folder / "seal.json")["files"]
    except (JsonFileError, KeyError, TypeError):
        return False


def parents(layout: Layout, parent_keys: Mapping[str, str]) -> dict[str, Parent]:
    """What a stage that starts now is built on; raises ManifestError where a parent is not there under its key."""
    record = {}
    for ref, key in sorted(parent_keys.items()):
        path = layout.manifest(ref)
        manifest = read(path)
        if manifest.key != key:
            raise ManifestError(f"{path}: has key {manifest.key}, wanted {key}. Run {ref} first.")
        record[ref] = Parent(key=key, manifest=identity(manifest))
    return record


def payload(layout: Layout, ref: str) -> Path:
    """The folder that contains a stage's weights: its own, or for `keep` the one it points to."""
    return layout.stage([ref, *pointed_to(layout, ref)][-1])


def pointed_to(layout: Layout, ref: str) -> list[str]:
    """The stages that a `keep` stage leads to, the one with the weights last; none for other stages."""
    seen, record = [ref], read(layout.manifest(ref))
    while (target := record.points_to) is not None:
        built_on = record.parents.get(target)
        target = target if built_on is None else renamed(layout, target, built_on.key)
        path = layout.manifest(target)
        if target in seen:
            raise ManifestError(f"{layout.manifest(ref)}: points_to goes round in a circle: {' -> '.join(seen)}")
        record, digest = read_with_digest(path)
        if built_on is not None and not is_parent(record, digest, built_on):
            raise ManifestError(
                f"{path}: is another result than the one that {seen[-1]} points to. Run {seen[-1]} again."
            )
        seen.append(target)
    return seen[1:]


def weights(folder: Path, module: str) -> list[Path]:
    """The files of a module's weights in a result: those that its manifest lists, and no others."""
    listed = (shard.file for shard in read(folder / NAME).shards)
    return [folder / file for file in listed if file.startswith(f"model/{module}/") and file.endswith(".safetensors")]


def renamed(layout: Layout, ref: str, key: str) -> str:
    """Where the result of `key` is in place now, at this scale; `ref` where that has it, or nothing else does."""
    if _key_of(layout.manifest(ref)) == key:
        return ref
    found = (path.parent for path in sorted(layout.manifest(ref).parents[2].glob("*/*/manifest.json")))
    return next(("/".join(folder.parts[-2:]) for folder in found if _key_of(folder / NAME) == key), ref)


def _key_of(path: Path) -> str | None:
    try:
        return read(path).key
    except (ManifestError, OSError):
        return None
