"""Corpora that refer to token files made elsewhere: what their manifest says of these, and reading them in our order.

The files stay where they are. The prepared folder has `order.bin` (int64 [documents, 2]: where each document begins in
the adopted files, read as one stream of tokens, and how long it is), training documents first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.data.corpus import mmidx, offsets
from stages.data.corpus.offsets import DocumentOffsets
from stages.data.files import inputs
from stages.data.mapped import Mapped
from stages.data.tokens.unknown import Unknown
from stages.errors import UserError
from stages.store import json_file
from stages.store.shards import Count, Hex64, Problem, Shard, problem

ORDER = "order.bin"
Prefix = Annotated[str, Field(min_length=1, pattern=r"^[^/\\\x00-\x1f]+(/[^/\\\x00-\x1f]+)*$")]


class AdoptedFile(json_file.Strict):
    """A file that is not copied: its size in bytes and its blake3 when it was read in full."""

    size: Count
    blake3: Hex64


class AdoptedDataset(json_file.Strict):
    """`<prefix>.bin` and `<prefix>.idx`, and Megatron-Core's code of the type of their tokens."""

    prefix: Prefix
    dtype: Count
    bin: AdoptedFile
    idx: AdoptedFile


class Adoption(json_file.Strict):
    """All datasets of a corpus in their stated order, below the project or below a `root` of specs/data/roots.yaml.

    Of the documents, `empty` ones are left out; `begin` begin with the tokenizer's bos, `end` end with its eos;
    `unknown` is what was encoded as its unknown token, if anything.
    """

    root: str | None = None
    datasets: Annotated[list[AdoptedDataset], Field(min_length=1)]
    empty: Count
    begin: Count
    end: Count
    unknown: Unknown | None = None

    def shards(self) -> list[Shard]:
        """The files as the digest of the corpus counts them: by their number, so that they may be moved."""
        found = []
        for number, one in enumerate(self.datasets):
            for kind, file in (("bin", one.bin), ("idx", one.idx)):
                found.append(Shard(file=f"adopted/{number}.{kind}", size=file.size, blake3=file.blake3))
        return found


@dataclass(frozen=True)
class AdoptedTokens:
    """Tokens of a corpus in its own order, read from files in another one. DocumentOffsets are those of the corpus.

    `begins` int64 [files]: where each file begins in the stream of all; `starts` and `offsets` int64 per document: its
    place in the stream and in the corpus.
    """

    files: Sequence[NDArray[np.integer]]
    begins: NDArray[np.int64]
    starts: NDArray[np.int64]
    offsets: DocumentOffsets
    mapped: Sequence[Mapped]  # the files, and then the one that has `starts`

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[np.integer]:
        """Tokens int64 [n] at `places`; a slice has no step."""
        wanted = np.arange(*places.indices(len(self))) if isinstance(places, slice) else np.asarray(places)
        self.mapped[-1].refuse_cut()
        documents = self.offsets.searchsorted(wanted, side="right") - 1
        stream = self.starts[documents] + wanted - self.offsets[documents]
        files = np.searchsorted(self.begins, stream, side="right") - 1
        found = np.empty(wanted.shape, dtype=np.int64)
        for number in np.unique(files).tolist():
            self.mapped[number].refuse_cut()
            here = files == number
            found[here] = self.files[number][stream[here] - self.begins[number]]
        return found


def located(folder: Path, adoption: Adoption) -> Iterator[tuple[Path, AdoptedFile]]:
    """The files of a corpus that is prepared in `folder` of a project: .bin and .idx of each dataset in turn.

    Raises UserError where one is missing or outside of the project or the declared root.
    """
    root = _project(folder)
    for one in adoption.datasets:
        for kind, file in ((".bin", one.bin), (".idx", one.idx)):
            yield inputs.below(root, folder.name, adoption.root, f"{one.prefix}{kind}"), file


def problems(folder: Path, adoption: Adoption, deep: bool) -> list[Problem]:
    """What of the adopted files is not as it was when they were read. Raises UserError as `located` does."""
    found = (problem(path, file, deep) for path, file in located(folder, adoption))
    return [one for one in found if one is not None]


def opened(folder: Path, adoption: Adoption) -> tuple[AdoptedTokens, DocumentOffsets]:
    """The tokens of a prepared corpus, mapped, and its offsets. Raises UserError as `located` does."""
    mapped = Mapped(folder / ORDER, "<i8")
    order = mapped.array.reshape(-1, 2)
    begins = offsets.of(len(order), mapped.reading(lambda first, last: np.asarray(order[first:last, 1])))
    paths = [path for path, _ in located(folder, adoption)][::2]
    types = [mmidx.DTYPES[one.dtype] for one in adoption.datasets]
    files = [Mapped(path, kind) for path, kind in zip(paths, types, strict=True)]
    arrays = [file.array for file in files]
    sizes = np.array([len(one) for one in arrays], dtype=np.int64)
    firsts = np.cumsum(sizes) - sizes
    return AdoptedTokens(arrays, firsts, np.asarray(order[:, 0]), begins, [*files, mapped]), begins


def _project(folder: Path) -> Path:
    """The project that a prepared corpus belongs to: the nearest folder above with specs/data."""
    found = next((above for above in folder.absolute().parents if (above / "specs" / "data").is_dir()), None)
    if found is None:
        raise UserError(f"{folder}: lies in no project, and refers to files that a project's specs name")
    return found
