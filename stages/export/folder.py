"""Writing an export: a folder that appears whole, verified, or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from blake3 import blake3

from stages.errors import UserError
from stages.export import config, tensors
from stages.export.names import Published
from stages.export.result import Result
from stages.export.tensors import Dtype, Outgoing
from stages.export.tokenizer import TokenizerOut
from stages.models import hf_files
from stages.store import files, here, json_file, leftovers, trees
from stages.store.digest import BLOCK, Written

SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Exported:
    """What was written: the number of files of weights, and the bytes of all files."""

    shards: int
    bytes: int


def write(
    result: Result,
    published: Published,
    tokens: TokenizerOut,
    dtype: Dtype,
    shard: int,
    others: Mapping[str, bytes],
    folder: Path,
) -> Exported:
    """Write an export of at most `shard` bytes of tensors a file, and read it back.

    `others` are further files by name. Raises UserError for a folder that is there or that results are in, WriteError
    where the disk refuses, and UserError where what is on the disk is not what was written.
    """
    refuse_place(result, folder)
    parts = tensors.divided(tensors.outgoing(result, published, dtype), shard)
    small = {
        **config.files(result, published, tokens, dtype),
        **tokens.files(result.stage.max_context),
        **published.files(),
        **others,
    }
    with _being_made(folder) as made:
        written = {name: files.write(made / name, tensors.blocks(part)) for name, part in _named(parts).items()}
        small[hf_files.INDEX] = _index(_named(parts))
        written |= {name: files.write(made / name, data) for name, data in small.items()}
        sums = _verified(made, written)
        files.write(made / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())
        files.fsync_dir(made)
        refuse_place(result, folder)
        files.rename(made, folder)
    return Exported(len(parts), sum(one.size for one in written.values()))


def refuse_place(result: Result, folder: Path) -> None:
    """Raise UserError unless an export may be put there."""
    if os.path.lexists(folder):
        raise UserError(f"{folder}: is there already; allowed: a new folder. Nothing was written.")
    if folder.resolve().is_relative_to(result.layout.results.resolve()):
        raise UserError(f"{folder}: lies in {result.layout.results}, where runs write; allowed: a folder elsewhere.")


def _named(parts: list[list[Outgoing]]) -> dict[str, list[Outgoing]]:
    """Files by the names that transformers gives them."""
    if len(parts) == 1:
        return {hf_files.WEIGHTS: parts[0]}
    return {f"model-{number:05d}-of-{len(parts):05d}.safetensors": part for number, part in enumerate(parts, 1)}


def _index(named: Mapping[str, list[Outgoing]]) -> bytes:
    where = {one.name: file for file, part in named.items() for one in part}
    size = sum(one.entry.size for part in named.values() for one in part)
    return json_file.encode({"metadata": {"total_size": size}, "weight_map": where})


def _verified(folder: Path, written: Mapping[str, Written]) -> dict[str, str]:
    """sha256 of each file. Raises UserError unless all of them are as written, and agree with the index."""
    sums = {}
    for name, meant in written.items():
        found, sums[name] = _read(folder / name)
        if found != meant:
            raise UserError(
                f"{folder / name}: wrote {meant.size} bytes, blake3 {meant.blake3}, read {found.size} bytes, blake3 "
                f"{found.blake3}: the disk is not to be trusted; nothing was put in place."
            )
    with redirect_stdout(StringIO()):
        hf_files.listed(folder)
    return sums


def _read(path: Path) -> tuple[Written, str]:
    """Size and blake3 of a file as it is on the disk, and its sha256, in one pass."""
    ours, theirs, size = blake3(), hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            ours.update(block)
            theirs.update(block)
            size += len(block)
    return Written(size, str(ours.hexdigest())), theirs.hexdigest()


@contextmanager
def _being_made(folder: Path) -> Iterator[Path]:
    """A folder next to `folder` to write in, removed unless it was renamed. Those of killed exports go first.

    That an export is still running is known from its lock: it may run on another host, where its number says nothing.
    """
    files.make_dirs(folder.parent)
    prefix = f".{folder.name}.export."
    temporary = folder.with_name(f"{prefix}{here.process()}")
    with files.failing(folder):
        for left, _ in leftovers.named(folder.parent, prefix):
            with suppress(OSError), _locked(left):
                trees.remove_tree(left)
        files.disk.mkdir(temporary)
        with _locked(temporary):
            try:
                yield temporary
            finally:
                trees.remove_tree(temporary)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Take the kernel's lock on a folder, which goes with the process. Raises OSError where another one has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
