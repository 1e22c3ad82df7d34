"""Who may write below results/.runs/<key>, on one host and over several."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from filelock import FileLock

from stages.engines import run, training
from stages.store import files, holder, lease, partials
from tests.unit.train import tiny
from tests.waiting import until

ELSEWHERE = '{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 1}'  # as leases were before there were jobs


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / lease.LOG).read_text().splitlines()]


def test_every_lease_is_told_of_with_host_process_and_time(tmp_path: Path) -> None:
    before = time.time()
    for _ in range(2):
        with lease.hold(tmp_path, "toy/one") as mine:
            pass
    found = events(tmp_path)
    assert [(event["event"], event["token"]) for event in found] == [
        ("taken", 1), ("released", 1), ("taken", 2), ("released", 2),
    ]  # fmt: skip
    assert {event["pid"] for event in found} == {os.getpid()}
    assert {event["host"] for event in found} == {mine.host}
    assert round(before, 3) <= found[0]["time"] <= found[-1]["time"] <= round(time.time(), 3)  # told in milliseconds


def test_a_job_and_its_nodes_stand_in_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\nprintf 'n1\\nn2\\n'\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    folder = tmp_path / "run"
    with lease.hold(folder, "toy/one") as mine:
        assert (mine.job, mine.nodes) == ("17", ("n1", "n2"))
        assert lease.holder(folder) == mine
        with pytest.raises(lease.HeldError, match=r"on host \S+ \(Slurm job 17 on n1, n2\)"), lease.hold(folder, "p/s"):
            raise AssertionError("held twice")
    assert [event["job"] for event in events(folder)] == ["17", "17"]


def test_a_lease_from_before_there_were_jobs_is_understood(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text(ELSEWHERE)
    assert lease.holder(tmp_path) == holder.Holder("elsewhere", 1, 0.0, 1, None, ())


def test_a_lock_that_a_frozen_node_keeps_does_not_block_when_its_heartbeat_is_old(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text(ELSEWHERE)
    os.utime(tmp_path / "lease.json", (0, 0))
    with FileLock(tmp_path / "lease.elsewhere.lock"), lease.hold(tmp_path, "toy/one") as mine:
        assert lease.holder(tmp_path) == mine


def test_a_clock_that_runs_ahead_does_not_take_a_living_lease_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat is compared with a file written beside it, so by one clock, the file server's."""
    (tmp_path / "lease.json").write_text(ELSEWHERE)
    ahead = time.time() + 10 * holder.STALE
    monkeypatch.setattr(time, "time", lambda: ahead)
    with pytest.raises(lease.HeldError, match="elsewhere"), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("two holders")


def test_a_run_finds_out_at_a_heartbeat_that_another_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.02)
    lost, taken, read = Event(), Event(), holder.read

    def taken_before(folder: Path) -> holder.Holder | None:
        """The other comes just before a check, never between a check and the beat that follows it."""
        if taken.is_set():
            taken.clear()
            (folder / "lease.json").write_text(ELSEWHERE)
            os.utime(folder / "lease.json", (0, 0))
        return read(folder)

    monkeypatch.setattr(holder, "read", taken_before)
    with lease.hold(tmp_path, "toy/one", lost.set) as mine:
        assert not lost.wait(0.1)
        taken.set()
        assert lost.wait(300)
        with pytest.raises(lease.LeaseError, match="held now by process 1 on host elsewhere"):
            lease.check(tmp_path, mine)
    assert [event["event"] for event in events(tmp_path)] == ["taken", "lost"]
    assert (tmp_path / "lease.json").read_text() == ELSEWHERE
    assert (tmp_path / "lease.json").stat().st_mtime == 0, "the other's heartbeat is not ours to beat"


@pytest.mark.parametrize("beat", [0.01, 1000.0], ids=["at a heartbeat", "before a checkpoint"])
def test_a_run_that_lost_its_lease_stops_and_writes_no_further_checkpoint(
    beat: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = tiny.inputs(tmp_path)
    folder = inputs.layout.run(inputs.key)

    class Taken(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Any]:
            if first >= 16:  # the fifth step; a checkpoint was written after the third
                (folder / "lease.json").write_text(ELSEWHERE)
                until("a heartbeat", lambda: beat > 1 or events(folder)[-1]["event"] == "lost", seconds=60, every=0.01)
            return super().samples(first, count, tail)

    monkeypatch.setattr(training, "PhaseData", Taken)
    monkeypatch.setattr(lease, "BEAT", beat)
    with pytest.raises(lease.LeaseError, match="this run lost its lease"):
        run(tiny.make("next_token"), inputs)
    attempt = folder / "attempt-0001"
    assert [path.name for path in partials.listed(attempt)] == ["partial-000000003"]
    made = len((attempt / "result/metrics.csv").read_text().splitlines()) - 1
    assert made == (5 if beat < 1 else 6)


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: FileLock, timeout: float) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with (
        pytest.raises(files.WriteError, match=r"lease\..*\.lock: cannot be written \(No locks available\)"),
        lease.hold(tmp_path, "toy/one"),
    ):
        raise AssertionError("held without a lock")


def test_a_run_whose_lease_is_gone_is_told_that_nobody_holds_it(tmp_path: Path) -> None:
    with lease.hold(tmp_path, "toy/one") as mine:
        lease.check(tmp_path, mine)
        (tmp_path / "lease.json").unlink()
        with pytest.raises(lease.LeaseError) as caught:
            lease.check(tmp_path, mine)
        assert str(caught.value) == (
            f"{tmp_path}: this run lost its lease (held now by nobody); it puts nothing in place any more."
        )


def test_a_lease_that_the_disk_does_not_give_is_held_by_nobody_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "lease.json").symlink_to("lease.json")
    assert lease.holder(tmp_path) is None
    with pytest.raises(files.WriteError, match=r"lease\.json: cannot be written"), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("held what cannot be read")


def test_a_released_lease_leaves_its_tokens_its_lock_and_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "key"
    with lease.hold(folder, "toy/one") as mine:
        assert lease.holder(folder) == mine
    assert lease.holder(folder) is None
    assert sorted(path.name for path in folder.iterdir()) == [
        f"lease.{mine.host}.lock", "leases.jsonl", "token-000001",
    ]  # fmt: skip


def test_an_error_within_a_run_is_told_and_the_lease_released(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lease.hold(tmp_path, "toy/one"):
        raise KeyboardInterrupt
    assert [event["event"] for event in events(tmp_path)] == ["taken", "released"]
    assert not (tmp_path / "lease.json").exists()


def test_what_another_run_holds_now_is_not_released(tmp_path: Path) -> None:
    with lease.hold(tmp_path, "toy/one"):
        (tmp_path / "lease.json").write_text(ELSEWHERE)
    assert (tmp_path / "lease.json").read_text() == ELSEWHERE
    assert [event["event"] for event in events(tmp_path)] == ["taken"]


def test_the_last_time_is_that_of_the_latest_line_and_of_no_line_none(tmp_path: Path) -> None:
    assert lease.last_time(tmp_path) == 0.0
    (tmp_path / lease.LOG).write_bytes(b"")
    assert lease.last_time(tmp_path) == 0.0
    (tmp_path / lease.LOG).write_text('{"time": 5.0}\n{"time": 9.5, "event": "taken"}\n{"time": 7}\n')
    assert lease.last_time(tmp_path) == 9.5
    for wrong in ('{"time": -1}', '{"time": 1e11}', '{"event": "taken"}', "{"):
        (tmp_path / lease.LOG).write_text('{"time": 5.0}\n' + wrong + "\n")
        assert lease.last_time(tmp_path) == 0.0, "a log with a line that no run wrote tells nothing"


def test_a_heartbeat_renews_the_time_of_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.01)
    lost = Event()
    with lease.hold(tmp_path, "toy/one", lost.set):
        os.utime(tmp_path / "lease.json", (0, 0))
        until("a heartbeat", lambda: (tmp_path / "lease.json").stat().st_mtime > 0, seconds=60, every=0.01)
        assert not lost.is_set()


def test_beats_are_far_more_frequent_than_a_lease_goes_stale() -> None:
    """A few may fail, on a disk that is busy."""
    assert 3 * lease.BEAT < holder.STALE


def test_a_disk_that_refuses_is_told_of_by_the_file_that_it_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.disk, "create", refuse)
        with pytest.raises(files.WriteError, match="token-000001: cannot be written"), lease.hold(tmp_path, "toy/one"):
            raise AssertionError("held without a number")
    with pytest.raises(files.WriteError, match=r"lease\.json: cannot be written"), lease.hold(tmp_path, "toy/one"):
        monkeypatch.setattr(files.disk, "unlink", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(holder, "read", refuse)
        with pytest.raises(files.WriteError, match=r"lease\.json: cannot be written \(No space"):
            lease.check(tmp_path, holder.this_process(1))


def test_what_is_in_the_place_of_the_log_of_leases_is_named(tmp_path: Path) -> None:
    def put_a_folder_there() -> None:
        (tmp_path / lease.LOG).unlink(missing_ok=True)
        (tmp_path / lease.LOG).mkdir()

    put_a_folder_there()
    refused = r"leases\.jsonl: cannot be written \(Is a directory\)"
    with pytest.raises(files.WriteError, match=refused), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("held without a word of it")
    (tmp_path / lease.LOG).rmdir()
    with pytest.raises(files.WriteError, match=refused), lease.hold(tmp_path, "toy/one"):
        put_a_folder_there()
    assert not (tmp_path / "lease.json").exists()


def test_times_are_told_in_milliseconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1234.56789)
    with lease.hold(tmp_path, "toy/one"):
        pass
    assert {event["time"] for event in events(tmp_path)} == {1234.568}
