"""Prepared corpora on disk: `tokens.bin/.idx`, `mask.bin`, `images.bin/.idx` and a manifest with every digest.

`mask.bin` (SFT only) holds one byte per token: 1 where the token may be a target. `images.idx` is a .npy table
(int64 [pictures, 5]: document, height, width, offset, digit or -1), `images.bin` the grey pixels, one byte each.
Training documents come first; the held-out ones follow after `size`.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stages.data import mmidx
from stages.data.encode import TOKEN_DTYPE, Encoded
from stages.data.spec import Count, Digest, Kind
from stages.errors import UserError
from stages.store import files
from stages.store.manifest import Shard

MANIFEST = "manifest.json"
ManifestKind = Kind | Literal["tokenizer"]


class DataManifest(BaseModel):
    """manifest.json of a prepared corpus: deterministic, so that the same preparation gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Annotated[int, Field(ge=1, le=1)]
    corpus: str
    kind: ManifestKind
    digest: Digest
    tokenizer: Digest
    size: Count
    documents: Count
    longest: Count
    heldout: Count
    cell: Count  # pixels a side that make one <image> token; 0 where there are no pictures
    patch: Count  # pixels a side of the image encoder's patches; 0 where there are no pictures
    channels: Count
    shards: list[Shard]


def write_folder(out: Path, contents: Mapping[str, bytes], make: Any) -> DataManifest:
    """Write files and the manifest that `make(shards)` returns into `out`, whole or not at all.

    A previous folder at `out` is replaced in one rename.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
        shards = [
            Shard(file=name, size=len(data), blake3=files.digest_bytes(data)) for name, data in sorted(contents.items())
        ]
        manifest: DataManifest = make(shards)
        text = json.dumps(manifest.model_dump(mode="json"), sort_keys=True, indent=2) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        files.fsync_tree(temporary)
        _replace_folder(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _replace_folder(new: Path, out: Path) -> None:
    if out.exists():
        old = new.with_name(new.name + ".old")
        os.replace(out, old)
        os.replace(new, out)
        shutil.rmtree(old)
    else:
        os.replace(new, out)
    files.fsync_dir(out.parent)


def content_digest(size: int, shards: list[Shard]) -> str:
    """The digest that specs declare: over each file's name, size and blake3, and where the held-out part begins."""
    lines = [f"{shard.file} {shard.size} {shard.blake3}\n" for shard in shards]
    return files.digest_bytes("".join([f"size {size}\n", *lines]).encode())


def contents(encoded: Encoded, kind: Kind) -> dict[str, bytes]:
    """The files of a prepared corpus, by name."""
    out = {
        "tokens.bin": encoded.tokens.astype(TOKEN_DTYPE).tobytes(),
        "tokens.idx": mmidx.index_bytes(encoded.lengths, TOKEN_DTYPE),
    }
    if kind == "sft":
        out["mask.bin"] = encoded.supervised.tobytes()
    if kind in ("multimodal", "pairs"):
        table = io.BytesIO()
        np.save(table, encoded.pictures, allow_pickle=False)
        out["images.bin"], out["images.idx"] = encoded.pixels.tobytes(), table.getvalue()
    return out


def read_manifest(folder: Path) -> DataManifest:
    """Read manifest.json. Raises UserError if the corpus is not there or the file is damaged."""
    path = folder / MANIFEST
    try:
        return DataManifest.model_validate_json(path.read_bytes())
    except OSError:
        raise UserError(f"{path}: corpus {folder.name} is not prepared; run `stages data {folder.name}`") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {key}: {first['msg']}; prepare corpus {folder.name} again") from None


def verify(folder: Path, deep: bool) -> list[str]:
    """What is wrong with a prepared folder, in words; empty if nothing. `deep` reads every byte again."""
    problems = []
    for shard in read_manifest(folder).shards:
        path = folder / shard.file
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif path.stat().st_size != shard.size:
            problems.append(f"{path}: {path.stat().st_size} bytes, expected {shard.size}")
        elif deep and (found := files.digest_file(path)) != shard.blake3:
            problems.append(f"{path}: blake3 {found}, expected {shard.blake3}")
    return problems


class Corpus:
    """A prepared corpus, memory-mapped. Token arrays are views of the map; documents are numbered in file order."""

    def __init__(self, folder: Path) -> None:
        """Open a prepared folder. Raises UserError if it is missing or a file has another size than declared."""
        self.folder, self.name = folder, folder.name
        self.manifest = read_manifest(folder)
        problems = verify(folder, deep=False)
        if problems:
            raise UserError("\n".join([*problems, f"prepare corpus {folder.name} again"]))
        indexed = mmidx.read(folder / "tokens")
        self.tokens, self.offsets = indexed.tokens, indexed.offsets
        kind = self.manifest.kind
        self.supervised: NDArray[np.uint8] | None = None
        self.pictures: NDArray[np.int64] | None = None
        if kind == "sft":
            self.supervised = np.memmap(folder / "mask.bin", dtype=np.uint8, mode="r")
        if kind in ("multimodal", "pairs"):
            self._pixels = np.memmap(folder / "images.bin", dtype=np.uint8, mode="r")
            self.pictures = np.load(folder / "images.idx", allow_pickle=False)
            self._first_picture = np.searchsorted(self.pictures[:, 0], np.arange(len(self.offsets)))

    @property
    def documents(self) -> int:
        """Number of documents, held-out ones included."""
        return len(self.offsets) - 1

    @property
    def training_documents(self) -> int:
        """Number of documents that come before the held-out ones."""
        return self.manifest.documents

    def document_range(self, start: int, end: int) -> tuple[int, int]:
        """The documents that begin in [start, end); offsets in the corpus's unit (tokens, or items for pairs)."""
        if self.manifest.kind == "pairs":
            return start, end
        first, last = np.searchsorted(self.offsets[:-1], [start, end])
        return int(first), int(last)

    def raw_pictures(self, document: int) -> list[NDArray[np.uint8]]:
        """The pictures of a document in order: grey uint8 [H, W]."""
        return [self.raw_picture(row) for row in range(*self._first_picture[document : document + 2].tolist())]

    def raw_picture(self, row: int) -> NDArray[np.uint8]:
        """One row of the picture table: grey uint8 [H, W]."""
        assert self.pictures is not None
        _, height, width, offset, _ = self.pictures[row].tolist()
        return np.asarray(self._pixels[offset : offset + height * width]).reshape(height, width)

    def first_picture(self, document: int) -> int:
        """The picture table's row of a document's first picture."""
        return int(self._first_picture[document])
