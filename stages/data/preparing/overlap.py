"""What a corpus leaves out because others have it: documents that say the same, and documents with evaluations' text.

The others' files are read once, before anything is encoded; what is kept of them are hashes, on the disk. An exact copy
is identified by the hash of its full text, as for `duplicates`, in whatever format it came; text of an evaluation
by n-grams of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from stages.data import spec
from stages.data.document import Document
from stages.data.files import inputs, pieces, records, user
from stages.data.files.pieces import Input
from stages.data.preparing import hashes
from stages.data.preparing.hashes import Hashes, Pairs
from stages.data.preparing.ngrams import NGrams
from stages.data.preparing.progress import Progress
from stages.data.spec import CorpusSpec
from stages.data.turns import RowError
from stages.errors import UserError
from stages.spec import other_corpora
from stages.spec.files import Files
from stages.spec.loader_data import NOT_CORPORA, load_corpus
from stages.spec.schema.corpora import RawCorpus
from stages.store import json_file, trees
from stages.store.shards import Count, Shard, compare

BLOCK = 4096  # documents that are hashed at once
SETS = "sets.json"  # written last
Left = dict[str, list[int]]
"""What a run left out: "without NAME" or "against NAME" -> documents and tokens."""


@dataclass(frozen=True)
class Other:
    """Another corpus, its files, and which of its documents count: all, or the held-out ones."""

    corpus: CorpusSpec
    files: Sequence[Input]
    heldout: bool

    def documents(self) -> Iterator[Document]:
        """Its documents, without rows that cannot be used: its own preparation names those."""
        shape, before = user.shape(self.corpus), 0
        with closing(Progress(self.corpus.corpus, sum(one.size for one in self.files), did="compared")) as progress:
            for piece in pieces.cut(self.files):
                for row in user.rows(piece, shape):
                    progress.show(before + row.read)
                    try:
                        found = records.document(row.raw, shape)
                    except RowError:
                        continue
                    if found.heldout or not self.heldout:
                        yield found
                before += piece.size


class WrittenSet(json_file.Strict):
    """How many documents of another corpus count, how many of them have no n-gram, and the files with the hashes."""

    documents: Count
    short: Count
    shards: list[Shard]


_SETS = TypeAdapter(dict[str, WrittenSet])


@dataclass(frozen=True)
class Others:
    """The sets of hashes that a preparation compares with, in the stated order. `folder` contains them."""

    folder: Path
    without: tuple[str, ...]
    against: tuple[str, ...]
    words: int
    remove: bool

    def open(self) -> Comparison:
        """In each process."""
        return Comparison(self)


def find(root: Path, corpus: CorpusSpec) -> dict[str, Other]:
    """The other corpora that a spec names, by what is counted of them. Raises UserError where one cannot be."""
    if corpus.without is None and corpus.decontaminate is None:
        return {}
    _check(Files(root), corpus.corpus)
    found = {f"without {name}": _other(root, name, False) for name in corpus.without or ()}
    sets = corpus.decontaminate.against if corpus.decontaminate is not None else {}
    return found | {f"against {name}": _other(root, name, which == "heldout") for name, which in sets.items()}


def _check(files: Files, name: str) -> None:
    """As the specs are checked as a whole, also where some of them are not declared yet."""
    known, ahead = dict[str, RawCorpus](), [name]
    while ahead:
        one = ahead.pop()
        if one not in known and one in files.names("data") and one not in NOT_CORPORA:
            known[one] = load_corpus(files, one, declared=False)
            ahead += [other for _, other in other_corpora.named(known[one])]
    other_corpora.check(files.entry("data", name), name, known)


def _other(root: Path, name: str, heldout: bool) -> Other:
    one = spec.load(root, name, declared=False)
    return Other(one, inputs.find(root, one), heldout)


def write(corpus: CorpusSpec, found: dict[str, Other], folder: Path) -> Others | None:
    """Read the others and keep their hashes in `folder`, unless it has them whole; None where there are no others.

    Raises UserError where an evaluation set has no run of so many words, and WriteError.
    """
    if not found:
        return None
    words = corpus.decontaminate.words if corpus.decontaminate is not None else 0
    if _kept(folder) is None:
        trees.make_empty(folder)
        ngrams = NGrams(words)
        sets = {name: _write(corpus, name, one, ngrams, folder) for name, one in found.items()}
        json_file.write(folder / SETS, {name: one.model_dump() for name, one in sets.items()})
    removes = corpus.decontaminate is not None and corpus.decontaminate.found == "remove"
    names = [tuple(name.split()[1] for name in found if name.startswith(kind)) for kind in ("without", "against")]
    return Others(folder, names[0], names[1], words, removes)


def _write(corpus: CorpusSpec, name: str, one: Other, ngrams: NGrams, folder: Path) -> WrittenSet:
    exact, tally = name.startswith("without "), [0, 0]
    blocks = _identities(one, tally) if exact else _ngrams(one, ngrams, tally)
    shards = hashes.write(folder / name.replace(" ", "-"), blocks)
    if not exact and not shards[0].size:
        raise UserError(
            f"{spec.FOLDER / corpus.corpus}.yaml: decontaminate: none of the {tally[0]} documents of "
            f"{one.corpus.corpus} that count has {ngrams.words} words in a row; allowed: sets with text to compare"
        )
    return WrittenSet(documents=tally[0], short=tally[1], shards=shards)


def _kept(folder: Path) -> dict[str, WrittenSet] | None:
    """What an earlier preparation wrote, if all of it is there: nothing was flushed, so its digests are compared."""
    try:
        found = json_file.read_as(folder / SETS, _SETS)
    except json_file.JsonFileError:
        return None
    return None if any(compare(folder, one.shards, deep=True) for one in found.values()) else found


def counts(others: Others) -> dict[str, WrittenSet]:
    """Of each other, by what is counted of it, what was written."""
    return json_file.read_as(others.folder / SETS, _SETS)


def _identities(one: Other, tally: list[int]) -> Iterator[Pairs]:
    block: list[str] = []
    for document in one.documents():
        tally[0] += 1
        block.append(document.identity)
        if len(block) == BLOCK:
            yield hashes.of(block)
            block = []
    yield hashes.of(block)


def _ngrams(one: Other, ngrams: NGrams, tally: list[int]) -> Iterator[Pairs]:
    for document in one.documents():
        found = ngrams.of(document)
        tally[0] += 1
        tally[1] += not len(found)
        yield found


class Comparison:
    """Documents compared with the others, one batch after the other."""

    def __init__(self, others: Others) -> None:
        self._others, self._ngrams = others, NGrams(others.words)
        self._exact = {name: Hashes(others.folder / f"without-{name}") for name in others.without}
        self._sets = {name: Hashes(others.folder / f"against-{name}") for name in others.against}

    def kept(self, batch: Sequence[Document], lengths: NDArray[np.int64], left: Left) -> NDArray[np.bool_]:
        """Which documents [n] stay; `left` takes what does not, and what was found and stays, by the first that has it.

        Held-out documents are not searched for evaluations' text: nothing is trained on them.
        """
        pairs = hashes.of(one.identity if one.rejected is not None else one.origin for one in batch)
        kept = np.ones(len(batch), dtype=np.bool_)
        for name, known in self._exact.items():
            has = known.have(pairs) & kept
            _add(left, f"without {name}", int(has.sum()), int(lengths[has].sum()))
            kept &= ~has
        for number in np.flatnonzero(kept).tolist() if self._sets else ():
            if (has_text := self._set(batch[number])) is not None:
                _add(left, f"against {has_text}", 1, int(lengths[number]))
                kept[number] = not self._others.remove
        return kept

    def _set(self, document: Document) -> str | None:
        if document.heldout:
            return None
        return next((name for name, known in self._sets.items() if self._ngrams.among(document, known)), None)


def _add(left: Left, name: str, documents: int, tokens: int) -> None:
    before = left.setdefault(name, [0, 0])
    before[0] += documents
    before[1] += tokens
