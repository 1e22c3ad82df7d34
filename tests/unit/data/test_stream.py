"""Streaming preparation: the bytes of an in-memory one, for any cut of the input and any processes."""

from __future__ import annotations

import json
import random
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data import gather, spec
from stages.data.corpus.prepared import Corpus
from stages.data.files import inputs, lines, pieces, user
from stages.data.files.pieces import Input, Piece
from stages.data.loading import packing
from stages.data.preparing import merge_blocks, pool, sorted_runs, worker
from stages.data.preparing.sorted_runs import Documents
from stages.errors import UserError
from tests.unit.data.own_files import declare, run
from tests.unit.data.small import Small
from tests.unit.data.streamed import held, in_memory, rows, write


@pytest.mark.parametrize("kind", ["text", "sft"])
@pytest.mark.usefixtures("cut_small")
def test_the_bytes_are_those_of_sorting_all_documents_in_memory(project: Small, kind: str) -> None:
    lines = rows(300)
    if kind == "sft":
        said = [json.loads(line)["text"] for line in lines]
        turns = [[{"role": "user", "content": "?"}, {"role": "assistant", "content": text}] for text in said]
        lines = [json.dumps({"messages": one}) for one in turns]
    write(project, lines)
    declare(project, "rows.jsonl", kind)
    manifest = run(project)
    assert held(project) == in_memory(project)
    assert manifest.documents + manifest.heldout == 300
    assert manifest.size == int(Corpus(project.data / "mine").offsets[manifest.documents])


@pytest.mark.parametrize("piece", [1, 7, 100, 1 << 20])
def test_no_row_is_lost_or_read_twice_wherever_a_file_is_cut(
    project: Small, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    wanted = ["", *rows(12), "", ""]
    write(project, wanted)
    monkeypatch.setattr(pieces, "PIECE", piece)
    corpus = spec.load(project.root, "mine", declared=False)
    cut = pieces.cut(inputs.find(project.root, corpus))
    seen = [(lines.lines_before(one) + row.line, row.raw) for one in cut for row in lines.json_lines(one)]
    assert seen == [(number, line.encode() + b"\n") for number, line in enumerate(wanted, start=1) if line]
    assert sum(one.end - one.start for one in cut) == (project.root / "rows.jsonl").stat().st_size


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_the_bytes_do_not_depend_on_the_number_of_processes(project: Small) -> None:
    write(project, rows(300))
    digests = {run(project, processes).digest for processes in (1, 2, 3)}
    assert len(digests) == 1


@pytest.mark.usefixtures("cut_small")
def test_a_bad_row_far_into_a_file_is_named_by_its_line(project: Small) -> None:
    write(project, [*rows(200), '{"text": ""}', *rows(100, seed=2)])
    with pytest.raises(user.BadRowError, match=r"^rows\.jsonl:201: text is empty"):
        run(project)
    assert [entry.name for entry in project.data.iterdir()] == ["tokenizer"]


def test_a_file_that_is_written_to_meanwhile_is_refused(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, rows(50))

    whole = pool.encode_all

    def meanwhile(*given: Any) -> list[worker.Run]:
        with (project.root / "rows.jsonl").open("a") as file:
            file.write(rows(1, seed=9)[0] + "\n")
        return whole(*given)

    monkeypatch.setattr(pool, "encode_all", meanwhile)
    with pytest.raises(UserError, match=r"^rows\.jsonl: changed while it was read"):
        run(project)


@pytest.mark.usefixtures("cut_small")
def test_a_document_that_comes_a_thousand_times_takes_no_more_memory(project: Small) -> None:
    """More of one rank than a stretch holds: it cannot be cut by rank."""
    write(project, [json.dumps({"text": "the same in every row, and a few words more"})] * 1000 + rows(150))
    run(project)
    assert held(project) == in_memory(project)


@pytest.mark.usefixtures("cut_small")
@pytest.mark.parametrize("once", [False, True])
def test_of_equal_documents_no_more_than_a_stretch_is_in_memory(tmp_path: Path, once: bool) -> None:
    """Also of a run that was merged of many."""
    count, one = 5000, np.array([1, 2, 3], dtype="<u2")
    made = Documents(
        np.full(count, 7, dtype="<u8"), np.full(count, 9, dtype="<u8"), np.zeros(count, dtype=np.bool_),
        np.full(count, 3), np.tile(one, count), None,
    )  # fmt: skip
    run = sorted_runs.write(tmp_path / "run", made, count, True, [])
    found = list(merge_blocks.stretches([run], once))
    assert max(sum(part.bytes for part in one.parts) for one in found) <= merge_blocks.STRETCH
    assert sum(len(one.order) for one in found) == (1 if once else count)


@pytest.mark.usefixtures("cut_small")
def test_a_run_has_few_documents_where_they_are_short(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a document besides its tokens is in memory too."""
    monkeypatch.setattr(pieces, "PIECE", 1 << 20)
    monkeypatch.setattr(worker, "CHARACTERS", 50)
    counts, write_run = list[int](), sorted_runs.write
    write(project, [json.dumps({"text": f"{number}"}) for number in range(500)])

    def counted(folder: Path, made: Documents, *rest: Any) -> sorted_runs.Run:
        counts.append(len(made.lengths))
        return write_run(folder, made, *rest)

    monkeypatch.setattr(sorted_runs, "write", counted)
    run(project)
    assert held(project) == in_memory(project)
    assert max(counts) <= worker.TOKENS // worker.DOCUMENT + 50


def test_stretches_are_put_together_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a Python object of some hundreds of bytes, beside one or two tokens."""
    count = 20_000
    draw = np.random.default_rng(5)
    data, lengths = draw.integers(0, 9, size=3 * count).astype("<u2"), draw.integers(0, 3, size=count)
    starts = draw.permutation(np.cumsum(lengths) - lengths)
    wanted = np.concatenate([data[start : start + length] for start, length in zip(starts, lengths, strict=True)])
    monkeypatch.setattr(gather, "BLOCK", 500)
    tracemalloc.start()
    found = gather.gather(data, starts, lengths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.dtype == data.dtype
    assert np.array_equal(found, wanted)
    assert peak < 50 * count


@pytest.mark.usefixtures("cut_small")
def test_the_lines_of_many_bad_rows_are_counted_in_one_pass(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, [row for good in rows(300) for row in (good, '{"text": ""}')])
    declare(project, "rows.jsonl", on_bad_row={"skip": 300})
    size, passed, before = (project.root / "rows.jsonl").stat().st_size, list[int](), lines.lines_before

    def counted(piece: Piece, start: int = 0, *given: int) -> int:
        passed.append(piece.start - start)
        return before(piece, start, *given)

    monkeypatch.setattr(lines, "lines_before", counted)
    left = run(project).inputs
    assert left is not None
    assert [one.line for one in left.skipped] == list(range(2, 601, 2))
    assert len(passed) > 10
    assert sum(passed) <= size


def test_small_files_become_pieces_in_one_pass() -> None:
    """Each is looked at a few times, however many there are."""
    looks = list[object]()

    class Size(int):
        def __add__(self, other: int) -> int:
            looks.append(other)
            return int(self) + int(other)

        __radd__ = __add__

    count = 400
    made = pieces.together(pieces.cut([Input(f"{number}.md", Path("x"), Size(20)) for number in range(count)]))
    assert [1 + len(one.more) for one in made] == [count]
    assert len(looks) < 5 * count


def test_a_row_that_is_too_long_is_refused_unread(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LONGEST", 1000)
    write(project, [*rows(3), json.dumps({"text": "x" * 5000}), *rows(3)])
    with pytest.raises(user.BadRowError, match=r"rows\.jsonl:4: a line of more than 1,000 bytes"):
        run(project)


def test_next_fit_in_blocks_is_next_fit() -> None:
    draw = np.random.default_rng(3)
    for context, cuts in product((8, 32, 100), (7, 400)):  # blocks of many windows, and many blocks in a window
        lengths = draw.integers(2, 60, size=500)
        blocks = np.split(lengths, sorted(draw.integers(0, 500, size=cuts)))
        plan = packing.plan(lengths, 0, context, None)
        assert packing.next_fit(blocks, context) == (plan.windows, int(lengths[plan.documents].sum()))


@pytest.mark.usefixtures("cut_small")
@pytest.mark.parametrize("copies", [30, 1000])
def test_of_equal_documents_the_first_is_kept_where_the_spec_says_so(project: Small, copies: int) -> None:
    """Also where there are more of one than a stretch holds, and over all pieces."""
    once = [json.dumps({"text": f"document {number} with a few words more"}) for number in range(120)]
    write(project, once)
    wanted = run(project)
    many = [*once, *once[5:20] * 2, *[once[3]] * copies]
    random.Random(4).shuffle(many)
    write(project, many)
    declare(project, "rows.jsonl", duplicates="drop")
    made = run(project)
    assert made.digest == wanted.digest
    assert made.inputs is not None
    assert made.inputs.duplicates == 30 + copies
    declare(project, "rows.jsonl", duplicates="keep")
    assert run(project).documents + run(project).heldout == len(many)


@pytest.mark.parametrize("cut", [False, True])
def test_many_small_files_share_runs_and_each_bad_row_has_its_own_file(
    project: Small, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run for each took 30 times as long."""
    folder = project.root / "many"
    folder.mkdir()
    for number in range(40):
        bad = "\n\n7\n" if number in (3, 20, 39) else "\n"
        (folder / f"{number:02d}.jsonl").write_text(f"\n{json.dumps({'text': f'text {number}'})}{bad}")
    (folder / "41.jsonl").write_text("")
    declare(project, "many", on_bad_row={"skip": 3})
    if cut:
        monkeypatch.setattr(pieces, "PIECE", 100)  # four files to a piece
    written = list[str]()
    write_run = sorted_runs.write
    monkeypatch.setattr(
        sorted_runs, "write", lambda folder, *given: (written.append(folder.name), write_run(folder, *given))[1]
    )
    made = run(project)
    assert len(written) == (10 if cut else 1)
    assert made.documents + made.heldout == 40
    assert made.inputs is not None
    assert [(one.file, one.line) for one in made.inputs.skipped] == [
        ("many/03.jsonl", 4), ("many/20.jsonl", 4), ("many/39.jsonl", 4),
    ]  # fmt: skip
    assert held(project) == in_memory(project)
    declare(project, "many", on_bad_row={"skip": 1})
    with pytest.raises(UserError, match=r"^many/20\.jsonl:4: found a number instead of an object"):
        run(project)
