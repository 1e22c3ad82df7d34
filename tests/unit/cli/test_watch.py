"""`stages watch`: what runs, in a terminal until Ctrl-C, and as one table elsewhere; nothing on disk is touched."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands.watch import watch
from stages.errors import UsageError
from stages.spec.project import Project
from stages.store import attempts, live, progress
from stages.store.layout import Layout
from tests.unit.cli.status_lines import Squeue, row
from tests.waiting import until

COLUMNS = ("phase", "step", "tokens", "lr", "loss")


def said(capsys: pytest.CaptureFixture[str], *names: str) -> str:
    watch("mini", names)
    return capsys.readouterr().out


def measured(folder: Path, steps: int) -> None:
    rows = live.Rows(folder)
    for step in range(1, steps + 1):
        values: live.Row = {"phase": "main", "step": step, "tokens": 4096 * step, "lr": 3e-4, "loss": 5 - step / 100}
        rows.add(COLUMNS, values, 0.5)
    rows.flush()


def test_where_nothing_runs_it_says_so(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == "no stage runs at mini\n"


def test_a_running_stage_has_its_step_loss_speed_and_checkpoint(
    runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs("toy/first", 100)
    measured(folder, 100)
    (folder / "partial-000000090").mkdir()
    words = row(said(capsys), "toy/first").split()
    assert words[:6] == ["toy/first", "100/400", "410K", "4.000", "3e-4", "8.19K"]
    assert "90" in words
    assert words[6:8] in (["30", "s"], ["29", "s"])


def test_stages_that_wait_say_for_what(runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    runs("toy/first", 100)
    text = said(capsys)
    assert "toy/second waits for toy/first" in text
    assert "toy/release waits for toy/second" in text


def test_a_run_that_has_not_made_a_step_starts(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with attempts.start(Layout(toy, "mini"), "toy/first", Project.load(toy).keys("mini")["toy/first"], {}):
        assert row(said(capsys), "toy/first").startswith("toy/first starts process")


@pytest.mark.parametrize("text", ["", "step\n", "step,tokens,loss,lr,seconds\n1,x,y,z,w\n", "\x00\n\x00"])
def test_rows_that_cannot_be_read_leave_their_columns_empty(
    runs: Callable[..., Path], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (runs("toy/first", 100) / live.NAME).write_text(text)
    assert row(said(capsys), "toy/first").startswith("toy/first 100/400")


def test_a_pipe_in_place_of_the_rows_is_not_waited_for(
    runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(runs("toy/first", 100) / live.NAME)
    assert row(said(capsys), "toy/first").startswith("toy/first 100/400")


def test_jobs_of_the_cluster_are_shown_with_their_nodes_or_as_waiting(
    toy: Path, squeue: Squeue, capsys: pytest.CaptureFixture[str]
) -> None:
    squeue("12 RUNNING rule_toy__first 1:00:00 n[1-32]\n13 PENDING rule_toy__release 1:00:00 ")
    text = said(capsys)
    assert row(text, "toy/first") == "toy/first starts job 12 on n[1-32]"
    assert row(text, "toy/release") == "toy/release pending job 13 waits in the queue (Priority)"


def test_pipelines_and_stages_are_asked_for_by_name(
    runs: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs("toy/first", 100)
    assert "toy/first" in said(capsys, "toy")
    assert "toy/first" in said(capsys, "toy/first")
    assert said(capsys, "toy/second") == "no stage runs at mini\n"
    with pytest.raises(UsageError, match="no pipeline 'toys'"):
        watch("mini", ["toys"])
    with pytest.raises(UsageError, match="no stage 'toy/thrid'"):
        watch("mini", ["toy/thrid"])


def test_the_last_rows_cost_the_same_however_many_there_are(tmp_path: Path) -> None:
    measured(tmp_path, 20_000)
    rows = live.tail(tmp_path)
    assert rows[-1]["step"] == "20000"
    assert 50 < len(rows) < 2_000
    assert rows == live.read(tmp_path)[-len(rows) :]


def test_in_a_terminal_it_goes_on_until_ctrl_c_which_touches_nothing(toy: Path) -> None:
    layout, key = Layout(toy, "mini"), Project.load(toy).keys("mini")["toy/first"]
    with attempts.start(layout, "toy/first", key, {}) as attempt:
        progress.write(attempt.folder, "main", 7, 400, 0.1)
        before = {path: path.stat().st_mtime_ns for path in toy.rglob("*") if not path.name.startswith("lease")}
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        command = [sys.executable, "-m", "stages", "watch"]
        process = subprocess.Popen(
            command, cwd=toy, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs ignore
        )  # fmt: skip
        os.close(theirs)
        text = b""

        def read() -> bytes:  # as a terminal does, to the end
            nonlocal text
            if select.select([ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # EIO: nobody writes to it any more
                    text += os.read(ours, 4096)
            return text

        try:
            until("a step", lambda: b"7/400" in read(), lambda: process.poll() is not None, lambda: text.decode())
            process.send_signal(signal.SIGINT)
            until("its end", lambda: read() and process.poll() is not None, said=lambda: text.decode(), seconds=60)
            assert process.returncode == 0
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        after = {path: path.stat().st_mtime_ns for path in toy.rglob("*") if not path.name.startswith("lease")}
        assert attempt.folder.is_dir()
    assert b"Traceback" not in text
    assert {path for path in after if "__pycache__" not in path.parts} == set(before)
    assert all(after[path] == then for path, then in before.items())
