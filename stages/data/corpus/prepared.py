"""Prepared corpora on disk: `tokens.bin/.idx`, `mask.bin`, `images.bin/.idx`, a manifest with every digest, a seal.

`mask.bin` (SFT, pairs of answers, chats with pictures) has one byte per token: 1 where the token may be a target. A
pair of answers is one document, the chosen conversation and then the rejected one, which begins where the byte is 2.
`images.idx` is a .npy table (int64 [pictures, 5]: document, height, width, offset, digit or -1), `images.bin` the
pixels: a byte each where they are grey, three where they are RGB.
A corpus that was cut with a published tokenizer keeps that too: `tokenizer.json`, and `tokenizer_use.json` with the
chat template and the ids of the special tokens' roles. One that adopts token files has `order.bin` in place of tokens.
Training documents come first; the held-out ones follow after `size`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.data.corpus import adopted, mmidx
from stages.data.corpus.adopted import AdoptedTokens
from stages.data.corpus.corpus_manifest import DataManifest, read_manifest
from stages.data.mapped import Mapped, OpenFiles
from stages.data.spec import preparing
from stages.data.tokens.roles import Roles
from stages.data.tokens.tokenizer_use import roles_of_corpus
from stages.errors import UserError
from stages.spec.schema.corpora import MASKED, Kind
from stages.store import files, json_file, leftovers, seal, trees
from stages.store.digest import digest_bytes
from stages.store.files import Data
from stages.store.manifest import NAME as MANIFEST
from stages.store.shards import Problem, Shard, compare, listed

if TYPE_CHECKING:
    from stages.data.tokens.encode import Encoded

MASK = "mask.bin"
TOKENS, PIXELS = "tokens.bin", "images.bin"


def write_folder(out: Path, contents: Mapping[str, Data], make: Callable[[list[Shard]], DataManifest]) -> DataManifest:
    """Write files and the manifest that `make(shards)` returns into `out`, whole or not at all.

    Digests are made while writing; seal and manifest come last. What was at `out` is replaced at the very end. Raises
    WriteError when the disk refuses, and what `make` raises.
    """
    with files.failing(out):
        files.make_dirs(out.parent)
        for left in leftovers.of_dead(out.parent, trees.unfinished(out), (".tmp", ".old")):  # of killed preparations
            trees.remove_tree(left)
    with trees.replacing(out) as temporary:
        return _fill(temporary, contents, make)


def _fill(folder: Path, contents: Mapping[str, Data], make: Callable[[list[Shard]], DataManifest]) -> DataManifest:
    written = {name: files.write(folder / name, data) for name, data in sorted(contents.items())}
    manifest = make(listed(written))
    data = json_file.encode(manifest.model_dump(mode="json", exclude_none=True))
    seal.write(folder, MANIFEST, data, manifest)
    files.write(folder / MANIFEST, data)
    files.fsync_dir(folder)
    return manifest


def content_digest(size: int, shards: list[Shard]) -> str:
    """The digest that specs declare: over each file's name, size and blake3, and where the held-out part begins."""
    lines = [f"{shard.file} {shard.size} {shard.blake3}\n" for shard in shards]
    return digest_bytes("".join([f"size {size}\n", *lines]).encode())


def contents(encoded: Encoded, kind: Kind, masked: bool = False) -> dict[str, bytes]:
    """The files of a prepared corpus, by name; with `masked`, the mask of a kind that has none as a rule."""
    out = {
        "tokens.bin": encoded.tokens.tobytes(),
        "tokens.idx": mmidx.index_bytes(encoded.lengths, encoded.tokens.dtype),
    }
    if kind in MASKED or masked:
        out[MASK] = encoded.supervised.tobytes()
    if kind in ("multimodal", "pairs"):
        table = io.BytesIO()
        np.save(table, encoded.pictures, allow_pickle=False)
        out["images.bin"], out["images.idx"] = encoded.pixels.tobytes(), table.getvalue()
    return out


def verify(folder: Path, deep: bool) -> list[Problem]:
    """What is wrong with a prepared folder; empty if nothing. `deep` reads every byte again.

    Raises UserError when the manifest cannot be read.
    """
    manifest = read_manifest(folder)
    found = compare(folder, manifest.shards, deep)
    if manifest.adopted is not None:
        found += adopted.problems(folder, manifest.adopted, deep)
    if deep:
        return [*seal.problems(folder), *found]
    return found if (folder / seal.NAME).is_file() else [*seal.problems(folder), *found]


def check(folder: Path) -> None:
    """Read a prepared folder in full; raises UserError naming each damaged file and the command that rebuilds it."""
    try:
        broken = [str(problem) for problem in verify(folder, deep=True)]
    except UserError as error:  # the manifest itself, with the command
        sealed = seal.problems(folder) if folder.is_dir() else []
        found = "; ".join([*map(str, sealed), str(error)])
        raise UserError(f"corpus {folder.name} cannot be used: {found}.") from error
    if broken:
        found = "; ".join(broken)
        raise UserError(f"corpus {folder.name} cannot be used: {found}. `{preparing(folder)}` rebuilds it.")


def _paths(folder: Path, manifest: DataManifest) -> list[Path]:
    """The files that reading a corpus opens, those that are adopted too."""
    own = [folder / shard.file for shard in manifest.shards]
    if manifest.adopted is None:
        return own
    return [*own, *(path for path, _ in adopted.located(folder, manifest.adopted))]


class Corpus:
    """A prepared corpus, memory-mapped. Token arrays are views of the map; documents are numbered in file order."""

    def __init__(self, folder: Path) -> None:
        """Open a prepared folder. Raises UserError if it is missing or a file has another size than declared."""
        self.folder, self.name = folder, folder.name
        self.manifest = read_manifest(folder)
        self._files = OpenFiles(_paths(folder, self.manifest))
        problems = verify(folder, deep=False)
        if problems:
            listed = "; ".join(map(str, problems))
            raise UserError(f"corpus {self.name} is damaged: {listed}. `{preparing(folder)}` rebuilds it.")
        self._mapped = dict[str, Mapped]()
        self._tokens: NDArray[np.integer] | AdoptedTokens
        if self.manifest.adopted is not None:
            self._tokens, self.offsets = adopted.opened(folder, self.manifest.adopted)
        else:
            indexed = mmidx.read(folder / "tokens")
            self._tokens, self.offsets = indexed.tokens, indexed.offsets
            self._mapped[TOKENS] = indexed.data
        kind = self.manifest.kind
        self._supervised: NDArray[np.uint8] | None = None
        self.pictures: NDArray[np.int64] | None = None
        if any(shard.file == MASK for shard in self.manifest.shards):
            self._mapped[MASK] = Mapped(folder / MASK, np.uint8)
            self._supervised = self._mapped[MASK].array
        if kind in ("multimodal", "pairs"):
            self._mapped[PIXELS] = Mapped(folder / PIXELS, np.uint8)
            self._pixels = self._mapped[PIXELS].array
            self.pictures = np.load(folder / "images.idx", allow_pickle=False)
            self._first_picture = np.searchsorted(self.pictures[:, 0], np.arange(len(self.offsets)))

    @property
    def tokens(self) -> NDArray[np.integer] | AdoptedTokens:
        """All tokens, mapped. Raises UserError where a file of the corpus was cut since it was opened."""
        if self.manifest.adopted is None:
            self._mapped[TOKENS].refuse_cut()
        return self._tokens

    @property
    def supervised(self) -> NDArray[np.uint8] | None:
        """For each token 1 where it may be a target, `preference.BEGINS` where a rejected conversation begins, mapped;
        None where all may. Raises UserError as `tokens` does.
        """
        if self._supervised is not None:
            self._mapped[MASK].refuse_cut()
        return self._supervised

    def refuse_changed(self) -> None:
        """Raise UserError where a file has been written to since the corpus was opened, by size and time.

        What was read since then may be of either content. Files that another one took the place of are read as they
        were.
        """
        if changed := self._files.modified():
            raise UserError(
                f"corpus {self.name}: {', '.join(map(str, changed))}: written to while it was read, so what came "
                "in since the last checkpoint is not known. Put back what the corpus was prepared from, or prepare it "
                f"again: `{preparing(self.folder)}`. The next run compares digests and goes on from that checkpoint."
            )

    @cached_property
    def roles(self) -> Roles:
        """What the special tokens of the corpus are for."""
        return roles_of_corpus(self.folder)

    @property
    def documents(self) -> int:
        """Number of documents, held-out ones included."""
        return len(self.offsets) - 1

    @property
    def training_documents(self) -> int:
        """Number of documents that come before the held-out ones."""
        return self.manifest.documents

    def span(self, document: int) -> slice:
        """Where a document's tokens lie in `tokens` and `supervised`."""
        return slice(*self.offsets[document : document + 2].tolist())

    def document_range(self, start: int, end: int) -> tuple[int, int]:
        """The documents that begin in [start, end); offsets in the corpus's unit (tokens, or items for pairs)."""
        if self.manifest.kind == "pairs":
            return start, end
        first, last = self.offsets.searchsorted([start, end])
        return int(first), int(last)

    def raw_pictures(self, document: int) -> list[NDArray[np.uint8]]:
        """The pictures of a document in order: uint8, grey [H, W] or RGB [H, W, 3]."""
        return [self.raw_picture(row) for row in range(*self._first_picture[document : document + 2].tolist())]

    def raw_picture(self, row: int) -> NDArray[np.uint8]:
        """One row of the picture table: uint8, grey [H, W] or RGB [H, W, 3]."""
        assert self.pictures is not None
        self._mapped[PIXELS].refuse_cut()
        _, height, width, offset, _ = self.pictures[row].tolist()
        sides = (height, width) if self.manifest.pixels is None else (height, width, 3)
        return np.asarray(self._pixels[offset : offset + math.prod(sides)]).reshape(sides)

    def first_picture(self, document: int) -> int:
        """The picture table's row of a document's first picture."""
        return int(self._first_picture[document])
