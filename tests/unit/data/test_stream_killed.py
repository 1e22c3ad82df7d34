"""Streaming preparation goes on after any kill: the same bytes, and nothing encoded twice."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from stages.data.corpus import corpus_manifest, prepared
from stages.data.files import pieces
from stages.data.preparing import merge, worker
from stages.data.preparing.batches import Batch, encode_batch
from stages.data.preparing.progress import Progress
from stages.data.tokens.tokenizer import Tokenizer
from stages.errors import UserError
from stages.store import files, trees
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data.own_files import declare, run
from tests.unit.data.small import Small
from tests.unit.data.streamed import held, in_memory, rows, write


def broken_off(project: Small, target: object, name: str, stop: Callable[..., object]) -> None:
    """A preparation that ends where `stop` takes the place of what it would call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, stop)
        with pytest.raises(KeyboardInterrupt):
            run(project)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
        trees.remove_tree(project.data / "mine")
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
    wanted = corpus_manifest.read_manifest(project.data / "mine").digest
    assert run(project).digest == wanted
    assert sum(encoded) < whole
    assert whole <= before + sum(encoded) < whole + 60  # a run at most is encoded twice


@pytest.mark.usefixtures("cut_small")
def test_it_goes_on_over_files_in_whatever_order_the_spec_states_them(project: Small, encoded: list[int]) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        (project.root / name).write_text("\n".join(rows(40, seed=ord(name[0]))) + "\n")
    declare(project, ["b.jsonl", "a.jsonl"])
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
    trees.remove_tree(kept)
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

    def show(self: Progress, read: int, kept: int = 0) -> None:
        if self.did == "read":  # files are measured before, and what was encoded is merged and written behind
            shown.append((read, kept))

    monkeypatch.setattr(Progress, "show", show)
    run(project)
    size = (project.root / "rows.jsonl").stat().st_size
    reads, kept = zip(*shown, strict=True)
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
        trees.remove_tree(project.data / "mine")
        with using(Failing(at, errno.ENOSPC, lasting=True)), pytest.raises(files.WriteError) as caught:
            run(project)
        assert "No space left on device" in str(caught.value)
        assert "\n" not in str(caught.value)
        if (project.data / "mine").exists():  # only its runs were left to be removed
            assert not prepared.verify(project.data / "mine", deep=True)
        assert run(project).digest == wanted, at
        assert sorted(entry.name for entry in project.data.iterdir()) == ["mine", "tokenizer"]
