"""A user's corpus from its files to sorted, merged runs, in memory that does not grow with it.

The input is cut into pieces, processes encode them into sorted runs, and the runs are merged. Runs stay until the
corpus is in place, so a preparation that was killed goes on: what has been encoded is not encoded again. They are kept
under the digests of the files that they were made of; other files, another spec or another tokenizer begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.data import inputs, pieces, pool, user
from stages.data.merge import Merge, held_out_alone, merge
from stages.data.pieces import Input, Piece
from stages.data.prepared import Inputs, Skipped
from stages.data.progress import Progress
from stages.data.runs import Run
from stages.data.spec import CorpusSpec
from stages.data.tokenizer import Source
from stages.data.worker import TOKENS, Job
from stages.errors import UserError
from stages.store import files, json_file
from stages.store.digest import digest_bytes, measure

KEY = "key"
VERSION = 1  # of how runs are cut and kept


@contextmanager
def merged(
    root: Path, corpus: CorpusSpec, tokenizer: Source, out: Path, processes: int
) -> Iterator[tuple[Merge, Inputs]]:
    """The merged runs of a corpus that is to be put at `out`, and what they were made of.

    Runs are removed at the end, also where a row or a file is of no use; a full disk and a kill leave them.
    Raises UserError and WriteError.
    """
    folder = out.with_name(f".{out.name}.runs")
    found = inputs.find(root, corpus)
    stamps = inputs.stamps(found)
    progress = Progress(corpus.corpus, sum(one.size for one in found))
    measured = _measured(found)
    how = f"{VERSION} {pieces.PIECE} {TOKENS}"
    _open(folder, f"{corpus.identity}\n{tokenizer.digest}\n{measured.digest}\n{how}")
    try:
        job = Job(corpus.corpus, corpus.kind, user.shape(corpus), tokenizer, folder, corpus.bad_rows)
        cut = pieces.cut(found)
        runs = pool.encode_all(job, cut, processes, progress)
        inputs.refuse_changed(found, stamps)
        skipped = _skipped(runs, cut, corpus.bad_rows)
        merging = merge(_enough(corpus, runs, folder), folder, corpus.duplicates == "drop")
        yield merging, measured.model_copy(update={"skipped": skipped, "duplicates": merging.dropped})
    except files.WriteError:
        raise
    except UserError:
        files.remove_tree(folder)
        raise
    finally:
        progress.close()
    files.remove_tree(folder)


def _measured(found: Sequence[Input]) -> Inputs:
    """Read the files in full: which they are."""
    lines = []
    for one in found:
        try:
            written = measure(one.path)
        except OSError as error:
            raise UserError(f"{one.name}: {error.strerror}") from None
        lines.append(f"{one.name} {written.size} {written.blake3}\n")
    return Inputs(files=len(found), bytes=sum(one.size for one in found), digest=digest_bytes("".join(lines).encode()))


def _open(folder: Path, identity: str) -> None:
    """Make the folder of runs, or keep it where it has the same ones."""
    key = digest_bytes(identity.encode())
    try:
        same = json_file.read(folder / KEY) == key
    except json_file.JsonFileError:
        same = False
    if not same:
        with files.failing(folder):
            files.remove_tree(folder)
            files.make_dirs(folder)
        json_file.write(folder / KEY, key)


def _skipped(runs: Sequence[Run], cut: Sequence[Piece], allowed: int) -> list[Skipped]:
    """The bad rows that are left out. Raises BadRowError for the first one that is not allowed."""
    found: list[Skipped] = []
    for run in runs:
        for bad in run.meta.bad:
            piece = cut[int(run.folder.name.partition("-")[0])]
            if len(found) == allowed:
                raise user.bad_row(piece, bad.line, bad.why, bad.allowed)
            found.append(Skipped(file=piece.file.name, line=user.line_in_file(piece, bad.line), why=bad.why))
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
    with files.failing(folder):
        files.remove_tree(folder / "first")
        files.make_dirs(folder / "first")
    return held_out_alone(filled, lowest, folder / "first")
