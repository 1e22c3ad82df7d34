"""Attempts at a stage: who holds it, what an end leaves behind, and which checkpoint is gone on from."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stages.store import attempts, done, files, finish, lease, manifest, partials
from stages.store.layout import Layout
from stages.train.stopping import NonFiniteError
from tests.unit.store.conftest import A, Run, toy_manifest, verdict

B = "b" * 32


def test_a_second_run_of_a_stage_is_refused_and_told_who_holds_it(layout: Layout) -> None:
    with attempts.start(layout, "toy/one", A, {}):
        assert verdict(layout).state == "running"
        with (
            pytest.raises(lease.LeaseError, match=rf"toy/one is already being run by process {os.getpid()} on host"),
            attempts.start(layout, "toy/one", A, {}),
        ):
            raise AssertionError("two runs at once")
    assert len(attempts.folders(layout, A)) == 1


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, done.KILLED), (signal.SIGSEGV, "crashed: Segmentation fault in <module>")]
)
def test_a_run_killed_by_the_kernel_does_not_block_the_next(number: int, why: str, layout: Layout) -> None:
    child = textwrap.dedent(
        f"""
        from pathlib import Path
        from stages.store import attempts
        from stages.store.layout import Layout
        with attempts.start(Layout(Path({str(layout.root)!r}), "mini"), "toy/one", {A!r}, {{}}):
            print("held", flush=True)
            input()
        """
    )
    pipe = subprocess.PIPE  # the input is closed with the block, so that the child ends however that ends
    with subprocess.Popen([sys.executable, "-c", child], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert verdict(layout).state == "running"
        assert f"process {process.pid}" in verdict(layout).why
        process.send_signal(number)
    assert verdict(layout).state == "failed"
    assert verdict(layout).why.startswith(why)
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        assert attempt.folder.name == "attempt-0002"
        assert attempt.holder.token == 2


def test_a_run_that_lost_its_lease_puts_nothing_in_place(layout: Layout) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        (layout.run(A) / "lease.json").write_text('{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 99}')
        with pytest.raises(lease.LeaseError, match="lost its lease"):
            finish.finish(attempt, toy_manifest(attempt))
    assert not layout.stage("toy/one").exists()


def test_another_hosts_fresh_heartbeat_holds_and_a_stale_one_does_not(layout: Layout) -> None:
    path = layout.run(A) / "lease.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 1}')
    with pytest.raises(lease.LeaseError, match="process 1 on host elsewhere"), lease.hold(layout.run(A), "toy/one"):
        raise AssertionError("held twice")
    os.utime(path, (0, 0))
    with lease.hold(layout.run(A), "toy/one") as mine:
        assert lease.holder(layout.run(A)) == mine


def test_a_failed_run_says_where_and_why_and_what_it_can_resume_from(layout: Layout) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(b"w")

    with attempts.start(layout, "toy/one", A, {}) as attempt:
        partials.save(partials.path(attempt, 20), write)
        attempt.fail(NonFiniteError("loss is not finite", 27))
    found = verdict(layout)
    assert (found.state, found.why, found.step) == ("failed", "loss is not finite", 27)
    assert (found.command, found.repeats) == ("stages show toy/one --scale mini", True)
    assert found.partial == partials.path(attempt, 20)
    assert found.log == layout.log(A)


def test_an_error_that_ends_a_run_is_its_finding(layout: Layout) -> None:
    with pytest.raises(ZeroDivisionError, match="once"), attempts.start(layout, "toy/one", A, {}):
        raise ZeroDivisionError("once")
    assert verdict(layout).why == "ZeroDivisionError: once"


def test_the_latest_valid_checkpoint_of_any_attempt_is_found(layout: Layout) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(b"w")

    with attempts.start(layout, "toy/one", A, {}) as first:
        partials.save(partials.path(first, 10), write)
        partials.save(partials.path(first, 20), write)
        partials.save(partials.path(first, 30), write)
    with attempts.start(layout, "toy/one", A, {}) as second:
        partials.save(partials.path(second, 5), write)
    (partials.path(first, 30) / "weights").write_bytes(b"x")
    assert partials.latest(layout, A, {}) == partials.path(first, 20)


def test_checkpoints_of_earlier_attempts_go_once_this_one_has_overtaken_them_with_enough_of_its_own(
    layout: Layout,
) -> None:
    def write(folder: Path) -> None:
        (folder / "weights").write_bytes(b"w")

    def left() -> list[str]:
        return sorted(str(path.relative_to(layout.run(A)))[8:] for path in layout.run(A).glob("attempt-*/partial-*"))

    with attempts.start(layout, "toy/one", A, {}) as first:
        for step in (10, 20, 30):
            partials.save(partials.path(first, step), write)
            partials.prune(first, 2)
    assert left() == ["0001/partial-000000020", "0001/partial-000000030"]
    with attempts.start(layout, "toy/one", A, {}) as second:
        partials.save(partials.path(second, 25), write)  # gone on from 20: 30 was damaged
        partials.prune(second, 2)
        assert len(left()) == 3
        partials.save(partials.path(second, 35), write)
        partials.prune(second, 2)
        assert left() == ["0001/partial-000000030", "0002/partial-000000025", "0002/partial-000000035"]
        partials.save(partials.path(second, 45), write)
        partials.prune(second, 2)
    assert left() == ["0002/partial-000000035", "0002/partial-000000045"]


def test_a_checkpoint_built_on_other_parents_is_not_resumed_from(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    with attempts.start(layout, "toy/two", B, manifest.parents(layout, {"toy/one": A})) as attempt:
        partials.save(partials.path(attempt, 10), lambda folder: (folder / "w").write_bytes(b"w") and None)
    assert partials.latest(layout, B, manifest.parents(layout, {"toy/one": A})) is not None
    run("toy/one", A, content=b"other bits")
    assert partials.latest(layout, B, manifest.parents(layout, {"toy/one": A})) is None


def test_a_checkpoint_whose_write_fails_is_not_there_at_all(layout: Layout) -> None:
    def fail(folder: Path) -> None:
        (folder / "weights").write_bytes(b"w")
        raise OSError(28, "No space left on device")

    with attempts.start(layout, "toy/one", A, {}) as attempt:
        with pytest.raises(files.WriteError, match=r"partial-000000010: cannot be written \(No space left on device\)"):
            partials.save(partials.path(attempt, 10), fail)
        assert sorted(path.name for path in attempt.folder.iterdir()) == ["attempt.json", "reserve", "result"]
