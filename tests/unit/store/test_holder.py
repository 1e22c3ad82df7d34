"""Who stands in a lease, and whether that process still counts."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Timer

import psutil
import pytest
from filelock import FileLock

from stages.store import here, holder, lease
from stages.store.holder import STALE, Holder

HERE = socket.gethostname()
UNSHARED = ["unshare", "--pid", "--fork", "--mount-proc"]  # as in a container


def test_a_holder_is_named_by_process_host_and_job() -> None:
    assert str(Holder("n1", 7, 1.5, 3)) == "process 7 on host n1"
    assert str(Holder("n1", 7, 1.5, 3, "17", ("n1", "n2"))) == "process 7 on host n1 (Slurm job 17 on n1, n2)"
    assert str(Holder("n\x1b1", 7, 1.5, 3)) == "process 7 on host n\\x1b1"


def test_what_is_written_is_one_line_and_is_read_again(tmp_path: Path) -> None:
    mine = Holder("n1", 7, 1.5, 3, "17", ("n1", "n2"))
    data = holder.encode(mine)
    (tmp_path / "lease.json").write_bytes(data)
    assert (holder.read(tmp_path), data.count(b"\n")) == (mine, 1)
    assert json.loads(data) == {
        "host": "n1", "pid": 7, "started": 1.5, "token": 3, "job": "17", "nodes": ["n1", "n2"],
        "boot": "", "namespace": "",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": "n1", "pid": 0, "started": null, "token": 1}'])
def test_what_no_run_wrote_to_its_end_names_nobody(text: str, tmp_path: Path) -> None:
    assert holder.read(tmp_path) is None
    (tmp_path / "lease.json").write_text(text)
    assert holder.read(tmp_path) is None


@pytest.mark.parametrize(
    "wrong", [{"pid": 0}, {"pid": 2**31}, {"token": -1}, {"token": 2**63}, {"host": None}, {"started": "now"}]
)
def test_numbers_that_no_process_has_name_nobody(wrong: dict[str, object], tmp_path: Path) -> None:
    right = {"host": "n1", "pid": 1, "started": None, "token": 0}
    (tmp_path / "lease.json").write_text(json.dumps(right))
    assert holder.read(tmp_path) == Holder("n1", 1, None, 0)
    (tmp_path / "lease.json").write_text(json.dumps(right | wrong))
    assert holder.read(tmp_path) is None


def test_a_disk_that_refuses_is_an_error_and_not_nobody(tmp_path: Path) -> None:
    (tmp_path / "lease.json").symlink_to("lease.json")
    with pytest.raises(OSError, match="symbolic links"):
        holder.read(tmp_path)


def test_this_process_is_known_by_its_number_and_when_it_began() -> None:
    mine = holder.this_process(5)
    assert mine == Holder(
        HERE, os.getpid(), holder.began(os.getpid()), 5, boot=here.boot(), namespace=here.pid_namespace()
    )
    assert mine.boot
    assert mine.namespace
    assert mine.started is not None
    assert 0 < mine.started <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_beginning_is_counted_from_the_start_of_the_host_in_hundredths(monkeypatch: pytest.MonkeyPatch) -> None:
    """From whole seconds, a number that is used again within one of them would be taken for the holder."""
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 1500.12345)
    monkeypatch.setattr(psutil, "boot_time", lambda: 1000.0)
    assert holder.began(os.getpid()) == 500.12


def test_on_this_host_the_process_decides_and_no_heartbeat(tmp_path: Path) -> None:
    mine = holder.this_process(1)
    assert holder.alive(mine, tmp_path), "without any file"
    assert not holder.alive(Holder(HERE, os.getpid(), (mine.started or 0.0) + 1.0, 1), tmp_path), "a number used again"


def test_a_process_that_is_dead_and_not_waited_for_has_no_beginning() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert holder.began(process.pid) is not None
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert holder.began(process.pid) is None
    assert holder.began(process.pid) is None


def test_a_process_that_was_suspended_is_there_and_told_how_it_goes_on() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        other = replace(holder.this_process(1), pid=process.pid, started=holder.began(process.pid))
        assert holder.suspended(other) == ""
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert holder.suspended(other) == f", suspended: `kill -CONT {process.pid}` lets it go on"
        assert holder.began(process.pid) == other.started
        assert holder.suspended(replace(other, namespace="4026532999")) == "", "another process has that number here"
        process.send_signal(signal.SIGCONT)
    assert holder.suspended(other) == ""


@pytest.mark.parametrize(
    ("beaten", "counts"), [(0, True), (STALE - 1, True), (STALE, False), (1 - STALE, True), (-STALE, False)]
)
def test_elsewhere_a_heartbeat_counts_for_two_minutes_and_one_of_the_future_for_no_longer(
    beaten: float, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Holder("elsewhere", 1, 0.0, 1)
    (tmp_path / "lease.json").write_bytes(holder.encode(other))
    os.utime(tmp_path / "lease.json", (10_000, 10_000))
    assert holder.age(tmp_path, 10_000 + beaten) == beaten
    assert holder.alive(other, tmp_path, 10_000 + beaten) is counts
    monkeypatch.setattr(time, "time", lambda: 10_000.0 + beaten)
    assert holder.alive(other, tmp_path) is counts


def test_without_a_lease_there_is_no_heartbeat(tmp_path: Path) -> None:
    assert holder.age(tmp_path, 0.0) is None
    assert not holder.alive(Holder("elsewhere", 1, 0.0, 1), tmp_path)


@pytest.fixture
def in_a_container() -> Holder:
    """A holder whose process has the number of this one, in another PID namespace of this machine."""
    return replace(holder.this_process(1), namespace="4026532999")


def test_in_another_container_of_this_machine_the_lock_decides_and_no_number_of_a_process(
    in_a_container: Holder, tmp_path: Path
) -> None:
    assert str(in_a_container) == f"process {os.getpid()} in another PID namespace (container) of host {HERE}"
    (tmp_path / "lease.json").write_bytes(holder.encode(in_a_container))
    with FileLock(tmp_path / holder.lock_name()):
        os.utime(tmp_path / "lease.json", (0, 0))  # frozen, as by `docker pause`
        assert lease.holder(tmp_path) == in_a_container
        with pytest.raises(lease.HeldError, match="in another PID namespace"), lease.hold(tmp_path, "toy/one"):
            raise AssertionError("held twice")
    assert lease.holder(tmp_path) is None, "killed: its number is in use here, and the lock is free"
    with lease.hold(tmp_path, "toy/one") as mine:
        assert lease.holder(tmp_path) == mine


def test_a_look_at_the_lock_keeps_no_run_from_beginning(in_a_container: Holder, tmp_path: Path) -> None:
    (tmp_path / holder.lock_name()).touch()
    with (tmp_path / holder.lock_name()).open() as looked:
        fcntl.flock(looked, fcntl.LOCK_SH)
        Timer(0.03, lambda: fcntl.flock(looked, fcntl.LOCK_UN)).start()
        with lease.hold(tmp_path, "toy/one"):
            pass


def test_another_start_of_a_host_of_this_name_may_be_another_machine_whose_heartbeat_counts(tmp_path: Path) -> None:
    """As two machines that are both called localhost, on one file server."""
    other = replace(holder.this_process(1), boot="00000000-0000-0000-0000-000000000000")
    (tmp_path / "lease.json").write_bytes(holder.encode(other))
    assert lease.holder(tmp_path) == other
    with pytest.raises(lease.HeldError, match="is already being run"), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("held twice")
    os.utime(tmp_path / "lease.json", (0, 0))
    assert lease.holder(tmp_path) is None


@pytest.mark.skipif(subprocess.run([*UNSHARED, "true"], capture_output=True).returncode != 0, reason="no namespaces")
def test_a_run_in_a_pid_namespace_of_its_own_is_seen_until_it_ends(tmp_path: Path) -> None:
    holds = (
        "import sys; from pathlib import Path; from stages.store import lease\n"
        "with lease.hold(Path(sys.argv[1]), 'p/s'): print('held', flush=True); input()"
    )
    words = [*UNSHARED, sys.executable, "-c", holds, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        found = lease.holder(tmp_path)
        assert found is not None
        assert (found.host, found.boot, found.is_seen) == (HERE, here.boot(), False)
        process.stdin.close()
    assert lease.holder(tmp_path) is None
