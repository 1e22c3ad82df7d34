"""The stage's log on a disk that does not take it: told like any other refusal, never a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.commands import find_project, run, run_log
from stages.errors import UserError
from stages.store import files, markers
from tests.faults.cases import PROJECT
from tests.faults.disks import Failing, using
from tests.unit.train import tiny


def test_a_read_only_results_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = tiny.make("next_token").model_copy(update={"phases": ()})
    project = SimpleNamespace(stages={"tiny/box": stage}, keys={"tiny/box": "a" * 32}, absent={})
    monkeypatch.setattr(find_project, "open_project", lambda scale: (tmp_path, PROJECT))
    monkeypatch.setattr(find_project.graph, "readable", lambda *_: project)
    monkeypatch.setattr(run.Gate, "refuse", lambda *_: None)  # no specs are behind this stage
    disk = Failing(1, errno.EROFS, lasting=True)
    with using(disk), pytest.raises(files.WriteError, match=r"results: cannot be written \(Read-only file system\)"):
        run.run_stage("tiny/box", "mini", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_disk_that_is_full_when_the_log_is_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.txt"
    monkeypatch.setattr(run_log, "without_waiting", lambda path, flags: os.open("/dev/full", os.O_WRONLY))
    refused = r"log\.txt: cannot be written \(No space left on device\)"
    with pytest.raises(files.WriteError, match=refused), run_log.logged(log):
        print("x" * 100_000)
    with pytest.raises(files.WriteError, match=refused), run_log.logged(log):
        print("a few words, written when the log is closed")
    with pytest.raises(UserError, match="the loss is not finite"), run_log.logged(log):
        raise UserError("the loss is not finite")


def test_a_marker_that_cannot_be_set_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(files.WriteError, match=r"Not a directory"):
        markers.place(tmp_path / "results/.markers/mini/toy/one.key")


def test_a_file_where_the_markers_folder_has_to_be_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("a file where a folder should be")
    with pytest.raises(files.WriteError, match=r"File exists.*A file is where a directory has to be: move it away"):
        markers.place(tmp_path / "toy/one.key")


def test_a_terminal_that_goes_away_does_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its closing asks for a checkpoint, and what is printed until then is in the log."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

        def flush(self) -> None:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stdout", Gone())
    with run_log.logged(tmp_path / "log.txt"):
        print("stopped after step 3", flush=True)
    assert (tmp_path / "log.txt").read_text() == "stopped after step 3\n"


def test_a_pipe_in_the_logs_place_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.txt")
    with pytest.raises(files.WriteError, match=r"log\.txt: cannot be written"), run_log.logged(tmp_path / "log.txt"):
        pytest.fail("began")
