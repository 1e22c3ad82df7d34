"""A user's corpus from its files to sorted, merged runs, in memory that does not grow with it.

The input is cut into pieces, processes encode them into sorted runs, and the runs are merged. Runs stay until the
corpus is in place, so a preparation that was killed goes on: what has been encoded is not encoded again. They are kept
next to the digests of the files that they were made of: where one of these has changed, that is an error. Another spec
or another tokenizer starts over.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from stages.data.corpus.corpus_manifest import Inputs, Left, Matched, Separate, Skipped
from stages.data.files import inputs, pieces, user
from stages.data.files.pieces import Input, Piece
from stages.data.preparing import overlap, pool
from stages.data.preparing.merge import Merge, held_out_alone, merge
from stages.data.preparing.overlap import Other, Others
from stages.data.preparing.progress import Progress
from stages.data.preparing.sorted_runs import Run
from stages.data.preparing.worker import TOKENS, Job
from stages.data.spec import CorpusSpec
from stages.data.tokens import unknown
from stages.data.tokens.tokenizer import Source
from stages.data.tokens.unknown import Found, Unknown, UnknownTokensError
from stages.errors import UserError
from stages.store import files, json_file, trees
from stages.store.digest import digest_bytes, measure

KEY = "made_of.json"
VERSION = 3  # of how runs are cut and kept
LONGEST = 1 << 30  # bytes of the list of files that runs are made of


class _Before(json_file.Strict):
    """made_of.json next to runs: what they follow from, and each file's size and digest."""

    key: str
    files: dict[str, str]
    order: list[str]  # of the files: keys of JSON are sorted


_BEFORE = TypeAdapter(_Before)


@contextmanager
def merged(
    root: Path, corpus: CorpusSpec, tokenizer: Source, out: Path, processes: int
) -> Iterator[tuple[Merge, Inputs]]:
    """The merged runs of a corpus that is to be put at `out`, and what they were made of.

    Runs are removed at the end, also where a row or a file is of no use; a full disk and a kill leave them, and so does
    a text that is unknown to the tokenizer, which the spec may allow afterwards.
    Raises UserError and WriteError.
    """
    folder = out.with_name(f".{out.name}.runs")
    found = inputs.find(root, corpus)
    compared = overlap.find(root, corpus)
    every = [*found, *(one for other in compared.values() for one in other.files)]
    before = inputs.states(every)
    measured = _measured(corpus.corpus, found)
    inputs.refuse_copies(corpus, measured)
    specs = "".join(f"\n{name} {other.corpus.identity}" for name, other in compared.items())
    how = f"{VERSION} {pieces.PIECE} {TOKENS}{specs}"
    _open(
        folder,
        digest_bytes(f"{corpus.identity}\n{tokenizer.digest}\n{how}".encode()),
        {**measured, **_theirs(compared)},
    )
    read = sum(one.size for one in found)
    try:
        sets = overlap.write(corpus, compared, folder / "others")
        job = Job(corpus.corpus, corpus.kind, user.shape(corpus), tokenizer, folder, corpus.bad_rows, sets)
        cut = pieces.together(pieces.cut(found))
        with closing(Progress(corpus.corpus, read)) as progress:
            runs = pool.encode_all(job, cut, processes, progress)
        inputs.refuse_changed(every, before)
        skipped = _skipped(runs, cut, corpus.bad_rows)
        lost = _unknown(runs, cut, tokenizer)
        unknown.refuse(corpus, lost, " What was encoded is kept, so the same command goes on.")
        merging = merge(corpus.corpus, _enough(corpus, runs, folder), folder, corpus.duplicates == "drop")
        digest = digest_bytes("".join(f"{name} {found}\n" for name, found in measured.items()).encode())
        made = Inputs(files=len(found), bytes=read, digest=digest, skipped=skipped, duplicates=merging.dropped)
        separate = _separate(runs) if corpus.answers == "separate" else None
        yield merging, made.model_copy(update={**_left(runs, sets), "separate": separate, "unknown": lost})
    except (files.WriteError, UnknownTokensError):
        raise
    except UserError:
        trees.remove_tree(folder)
        raise
    with files.failing(folder):
        trees.remove_tree(folder)


def _measured(corpus: str, found: Sequence[Input]) -> dict[str, str]:
    """Read the files in full: which they are, size and digest by name."""
    measured, progress = {}, Progress(corpus, sum(one.size for one in found), did="measured")
    try:
        for one in found:
            written = measure(one.path, progress.add)
            measured[one.name] = f"{written.size} {written.blake3}"
    except OSError as error:
        raise UserError(f"{one.name}: {error.strerror}") from None
    finally:
        progress.close()
    return measured


def _theirs(compared: Mapping[str, Other]) -> dict[str, str]:
    """The same of the files of other corpora."""
    return {
        f"{name}: {file}": found
        for name, other in compared.items()
        for file, found in _measured(other.corpus.corpus, other.files).items()
    }


def _open(folder: Path, key: str, measured: Mapping[str, str]) -> None:
    """Make the folder of runs, or keep it where it has runs of the same files.

    Raises UserError where it has those of other files: the user has to say whether what was encoded is of no use.
    """
    try:
        before = json_file.read_as(folder / KEY, _BEFORE, limit=LONGEST)
    except json_file.JsonFileError:
        before = None
    if before is None or before.key != key:
        trees.make_empty(folder)
        json_file.write(folder / KEY, _Before(key=key, files=dict(measured), order=list(measured)).model_dump())
    elif changed := _changed(before, measured):
        raise UserError(
            f"{changed} since the preparation that was broken off; what it encoded is in {folder}. Put the file back "
            f"as it was, or remove that folder to begin again: `rm -r {shlex.quote(str(folder))}`"
        )


def _changed(before: _Before, now: Mapping[str, str]) -> str | None:
    """The first file that is not what it was, and how; the order of files is part of what they are."""
    for name in (*before.order, *now):
        if name not in now:
            return f"{name}: is not read any more"
        if name not in before.files:
            return f"{name}: is new"
        if before.files[name] != now[name]:
            return f"{name}: has changed"
    return None if before.order == list(now) else f"{next(iter(now))}: the order of files has changed"


def _left(runs: Sequence[Run], sets: Others | None) -> dict[str, dict[str, Left | Matched] | None]:
    """For the manifest, what the others have: documents and tokens, by the other corpus."""
    if sets is None:
        return {}
    known = overlap.counts(sets)
    without, against = dict[str, Left | Matched](), dict[str, Left | Matched]()
    for name in known:
        found = [run.meta.left.get(name, [0, 0]) for run in runs]
        documents, tokens = (sum(column) for column in zip(*found, strict=True)) if found else (0, 0)
        kind, _, other = name.partition(" ")
        if kind == "without":
            without[other] = Left(documents=documents, tokens=tokens)
        else:
            of = known[name]
            against[other] = Matched(of=of.documents, short=of.short, documents=documents, tokens=tokens)
    return {"without": without or None, "decontaminated": against or None}


def _separate(runs: Sequence[Run]) -> Separate:
    conversations, repeated = (sum(column) for column in zip(*(run.meta.separate for run in runs), strict=True))
    return Separate(conversations=conversations, repeated=repeated)


def _unknown(runs: Sequence[Run], cut: Sequence[Piece], tokenizer: Source) -> Unknown | None:
    """What the tokenizer has no token for in all that was read."""
    found = sum((Found(*(run.meta.unknown or ())) for run in runs), Found())
    if not found.tokens:
        return None
    first = next(run for run in runs if run.meta.unknown and run.meta.unknown[0])
    file, line = user.Places().of(cut[_piece(first)], found.line)
    return unknown.of(found, tokenizer.open(), sum(run.meta.tokens for run in runs), f"{file}:{line}")


def _piece(run: Run) -> int:
    """The number of the piece that a run is of."""
    return int(run.folder.name.partition("-")[0])


def _skipped(runs: Sequence[Run], cut: Sequence[Piece], allowed: int) -> list[Skipped]:
    """The bad rows that are left out. Raises BadRowError for the first one that is not allowed."""
    found, places = list[Skipped](), user.Places()
    for run in runs:
        for bad in run.meta.bad:
            piece = cut[_piece(run)]
            if len(found) == allowed:
                raise user.bad_row(piece, bad.line, bad.why, bad.allowed)
            file, line = places.of(piece, bad.line)
            found.append(Skipped(file=file, line=line, why=bad.why))
    return found


def _enough(corpus: CorpusSpec, runs: Sequence[Run], folder: Path) -> Sequence[Run]:
    """The runs, with some documents held out and some not.

    Where the hash of what they say would hold out none or all, the document that comes first by it is held out:
    evaluations need one. Raises UserError for fewer than two different documents.
    """
    filled = [run for run in runs if run.meta.documents]
    lowest = min((run.meta.lowest for run in filled), default=0)
    if not filled or lowest == max(run.meta.highest for run in filled):
        raise user.too_few(corpus, min(1, len(filled)))
    heldout, documents = (sum(getattr(run.meta, name) for run in filled) for name in ("heldout", "documents"))
    if 0 < heldout < documents:
        return filled
    trees.make_empty(folder / "first")
    return held_out_alone(filled, lowest, folder / "first")
