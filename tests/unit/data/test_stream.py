"""Streaming preparation: the bytes of an in-memory one, for any cut of the input, any processes, and after any kill."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages.data import inputs, lines, merge, packing, pieces, pool, prepare, prepared, spec, stretches, user, worker
from stages.data.batches import Batch, encode_batch
from stages.data.encode import encode
from stages.data.prepared import Corpus, DataManifest
from stages.data.progress import Progress
from stages.data.tokenizer import FILE, Tokenizer
from stages.errors import UserError
from stages.store import files
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data.small import Small
from tests.unit.data.test_user import declare, project

__all__ = ["project"]

WORDS = ["the", "sum", "of", "two", "numbers", "is", "never less", "than\n", "them\u2028", "<eos>", "\U0001f600"]


def rows(count: int, seed: int = 1) -> list[str]:
    """Lines of JSON of many lengths; every seventh is one of a few that come again and again."""
    draw = random.Random(seed)
    texts = (" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) + f" {number}" for number in range(count))
    again = (f"again {number % 3}" if number % 7 == 0 else text for number, text in enumerate(texts))
    return [json.dumps({"text": text}) for text in again]


def write(project: Small, lines: list[str], name: str = "rows.jsonl") -> None:
    (project.root / name).write_text("\n".join(lines) + "\n")
    declare(project, name)


def run(project: Small, processes: int = 1) -> DataManifest:
    return prepare.prepare(project.root, "mine", project.data / "mine", accept=True, processes=processes)


def broken_off(project: Small, target: object, name: str, stop: Callable[..., object]) -> None:
    """A preparation that ends where `stop` takes the place of what it would call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, stop)
        with pytest.raises(KeyboardInterrupt):
            run(project)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def held(project: Small) -> dict[str, bytes]:
    folder = project.data / "mine"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".bin", ".idx")}


def in_memory(project: Small) -> dict[str, bytes]:
    """What sorting all documents at once gives."""
    corpus = spec.load(project.root, "mine", declared=False)
    made, _ = prepare.in_order("mine", user.documents(project.root, corpus))
    return prepared.contents(encode(made, Tokenizer(project.data / "tokenizer" / FILE), None), corpus.kind)


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces, runs and stretches, of a small input."""
    monkeypatch.setattr(pieces, "PIECE", 3000)
    monkeypatch.setattr(worker, "TOKENS", 900)
    monkeypatch.setattr(worker, "CHARACTERS", 500)
    monkeypatch.setattr(stretches, "STRETCH", 12000)
    monkeypatch.setattr(merge, "FAN", 3)


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


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many documents each call encoded."""
    calls: list[int] = []

    def counted(batch: Batch, tokenizer: Tokenizer) -> Any:
        calls.append(len(batch.lines))
        return encode_batch(batch, tokenizer)

    monkeypatch.setattr(worker, "encode_batch", counted)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_after_a_kill_at_any_change_of_the_disk_it_goes_on_and_ends_with_the_same_bytes(
    project: Small, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 4000)
    monkeypatch.setattr(worker, "TOKENS", 1500)
    write(project, rows(25))
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        wanted = run(project).digest
    for at in range(1 + after, counter.count + 1, 2):  # every change, before it or after it
        files.remove_tree(project.data / "mine")
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True, after=after)):
            run(project)
        assert run(project).digest == wanted, at
        assert sorted(entry.name for entry in project.data.iterdir()) == ["mine", "tokenizer"]


@pytest.mark.usefixtures("cut_small")
def test_what_is_encoded_is_not_encoded_again(project: Small, encoded: list[int]) -> None:
    write(project, rows(300))
    run(project)
    whole, at = sum(encoded), len(encoded) // 2

    def killed(batch: Batch, tokenizer: Tokenizer) -> Any:
        if len(encoded) == at:
            raise KeyboardInterrupt
        encoded.append(len(batch.lines))
        return encode_batch(batch, tokenizer)

    encoded.clear()
    broken_off(project, worker, "encode_batch", killed)
    before = sum(encoded)
    encoded.clear()
    wanted = prepared.read_manifest(project.data / "mine").digest
    assert run(project).digest == wanted
    assert sum(encoded) < whole
    assert whole <= before + sum(encoded) < whole + 60  # a run at most is encoded twice


@pytest.mark.usefixtures("cut_small")
def test_it_goes_on_over_files_in_whatever_order_the_spec_states_them(project: Small, encoded: list[int]) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        (project.root / name).write_text("\n".join(rows(40, seed=ord(name[0]))) + "\n")
    declare(project, ["b.jsonl", "a.jsonl"])  # type: ignore[arg-type]
    broken_off(project, merge.Merge, "contents", interrupt)
    encoded.clear()
    run(project)
    assert encoded == []


@pytest.mark.usefixtures("cut_small")
def test_a_run_that_was_damaged_since_is_made_again(project: Small) -> None:
    write(project, rows(100))
    wanted = run(project).digest
    broken_off(project, merge.Merge, "contents", interrupt)
    damaged = sorted((project.data / ".mine.runs").glob("*/tokens"))[2]
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert run(project).digest == wanted


@pytest.mark.usefixtures("cut_small")
def test_a_file_that_changed_since_a_kill_is_refused_by_name_until_somebody_decides(
    project: Small, encoded: list[int]
) -> None:
    write(project, rows(50), "other.jsonl")
    write(project, rows(100))
    declare(project, ["other.jsonl", "rows.jsonl"])
    broken_off(project, merge.Merge, "contents", interrupt)
    (project.root / "rows.jsonl").write_text("\n".join(rows(99)) + "\n")
    encoded.clear()
    kept = project.data / ".mine.runs"
    with pytest.raises(UserError, match=r"^rows\.jsonl: has changed since the preparation .*`rm -r .*\.mine\.runs`$"):
        run(project)
    assert list(kept.glob("*/run.json"))
    files.remove_tree(kept)
    run(project)
    assert sum(encoded) == 149
    assert held(project) == in_memory(project)


@pytest.mark.parametrize(
    ("paths", "said"),
    [(["a.jsonl", "b.jsonl", "c.jsonl"], "c.jsonl: is new"), (["b.jsonl"], "a.jsonl: is not read any more")],
)
def test_a_pattern_that_finds_other_files_after_a_kill_is_refused(project: Small, paths: list[str], said: str) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write(project, rows(20, seed=ord(name[0])), name)
    declare(project, "*.jsonl")
    broken_off(project, merge.Merge, "contents", interrupt)
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        path = project.root / name
        path.unlink(missing_ok=True) if name not in paths else path.exists() or path.write_text(rows(1)[0])
    with pytest.raises(UserError, match=f"^{said} since"):
        run(project)


@pytest.mark.usefixtures("cut_small")
def test_another_spec_begins_anew(project: Small, encoded: list[int]) -> None:
    write(project, rows(100))
    broken_off(project, merge.Merge, "contents", interrupt)
    encoded.clear()
    declare(project, "rows.jsonl", on_bad_row={"skip": 3})
    run(project)
    assert sum(encoded) == 100


@pytest.mark.usefixtures("cut_small")
def test_after_a_kill_what_is_kept_counts_as_done(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, rows(300))
    calls: list[int] = []

    def killed(batch: Batch, tokenizer: Tokenizer) -> Any:
        calls.append(len(batch.lines))
        return interrupt() if len(calls) == 30 else encode_batch(batch, tokenizer)

    broken_off(project, worker, "encode_batch", killed)
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "show", lambda self, read, kept=0: shown.append((read, kept)))
    run(project)
    size = (project.root / "rows.jsonl").stat().st_size
    measured = shown.index((size, 0))  # reading the files in full comes first
    reads, kept = zip(*shown[measured + 1 :], strict=True)
    assert reads[-1] == size
    assert sorted(reads) == list(reads)
    assert size / 4 < kept[-1] < size * 3 / 4
    assert kept[-1] == kept[len(kept) // 2], "nothing is kept behind what is encoded"


@pytest.mark.slow
def test_a_full_disk_leaves_no_part_of_a_corpus_one_clear_line_and_what_is_encoded(
    project: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 2000)
    monkeypatch.setattr(merge, "FAN", 2)
    write(project, rows(25))
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        wanted = run(project).digest
    for at in range(1, counter.count + 1, 5):
        files.remove_tree(project.data / "mine")
        with using(Failing(at, errno.ENOSPC, lasting=True)), pytest.raises(files.WriteError) as caught:
            run(project)
        assert "No space left on device" in str(caught.value)
        assert "\n" not in str(caught.value)
        if (project.data / "mine").exists():  # only its runs were left to be removed
            assert not prepared.verify(project.data / "mine", deep=True)
        assert run(project).digest == wanted, at
        assert sorted(entry.name for entry in project.data.iterdir()) == ["mine", "tokenizer"]


def test_a_file_that_is_written_to_meanwhile_is_refused(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, rows(50))

    whole = pool.encode_all

    def meanwhile(*given: object) -> list[worker.Run]:
        with (project.root / "rows.jsonl").open("a") as file:
            file.write(rows(1, seed=9)[0] + "\n")
        return whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "encode_all", meanwhile)
    with pytest.raises(UserError, match=r"^rows\.jsonl: changed while it was read"):
        run(project)


@pytest.mark.usefixtures("cut_small")
def test_a_document_that_comes_a_thousand_times_takes_no_more_memory(project: Small) -> None:
    """More of one rank than a stretch holds: it cannot be cut by rank."""
    write(project, [json.dumps({"text": "the same in every row, and a few words more"})] * 1000 + rows(150))
    run(project)
    assert held(project) == in_memory(project)


def test_a_row_that_is_too_long_is_refused_unread(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "LONGEST", 1000)
    write(project, [*rows(3), json.dumps({"text": "x" * 5000}), *rows(3)])
    with pytest.raises(user.BadRowError, match=r"rows\.jsonl:4: a line of more than 1,000 bytes"):
        run(project)


def test_next_fit_in_blocks_is_next_fit() -> None:
    draw = np.random.default_rng(3)
    for context in (8, 32, 100):
        lengths = draw.integers(2, 60, size=500)
        blocks = np.split(lengths, sorted(draw.integers(0, 500, size=7)))
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
