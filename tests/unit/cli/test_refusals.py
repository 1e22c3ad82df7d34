"""What a machine refuses is reported in one line: permissions, a disk, memory, streams that are closed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages import cli
from stages.commands import find_project as opening
from stages.errors import UsageError, of_machine
from stages.sync import workflow
from stages.train.stopping import ASKING, StoppedError

CODE = """
import os, sys
from stages import streams
streams.open_missing()
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
print("printed", flush=True)
print("said", file=sys.stderr, flush=True)
os.write(1, b"by a library")
os.write(2, b"by a library")
os._exit(0 if handle > 2 and sys.stdin.read() == "" else 1)
"""


class OutOfMemoryError(RuntimeError):
    """As torch's, which is known by its name."""


class CudaError(RuntimeError):
    """As torch.cuda's, of calls that Python makes itself."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/manifest.json"), "a/manifest.json: refused (Permission"),
        (OSError(errno.EIO, "Input/output error", b"a/b"), "a/b: refused (Input/output error). Give the same command"),
        (OSError(errno.ENOSPC, "No space left on device"), "does not name (such as temporary files, in "),
        (OSError(errno.ENOSPC, "No space left on device"), "): refused (No space left on device). Give the same"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "No usable temporary directory found in ['/tmp']: all are full, or closed to this user. Give the same",
        ),
        (OSError(errno.EMFILE, "Too many open files", "a"), "a: refused (Too many open files)"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected", "a"), "a: refused (Transport endpoint"),
        (OSError(errno.EUCLEAN, "Structure needs cleaning", "a"), "a: refused (Structure needs cleaning)"),
        (ImportError("lib.so: failed to map segment from shared object"), "memory ran out (lib.so: failed to map"),
        (MemoryError(), "memory ran out. Give it more"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out ([Errno 12] Cannot allocate memory)"),
        (OutOfMemoryError("CUDA out of memory.\nmore"), "memory ran out (CUDA out of memory.)"),
        (RuntimeError("CUDA error: out of memory\nSearch for"), "memory ran out (CUDA error: out of memory). Give it"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "memory ran out (CUDA error: CUBLAS_"),
        (CudaError("out of memory (2)"), "memory ran out (out of memory (2)). Give it more"),
        (
            RuntimeError("NCCL error in: x.cpp:1, unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
            "memory ran out (Cuda failure 2 'out of memory'). Give it more",
        ),
        (
            RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"),
            "a GPU cannot be used (CUDA error: CUDA-capable device(s) is/are busy or unavailable). Another process has",
        ),
        (
            RuntimeError("CUDA error: uncorrectable NVLink error detected during the execution\nmore"),
            "a GPU cannot be used (CUDA error: uncorrectable NVLink error detected during the execution). A link betw",
        ),
        (
            RuntimeError("CUDA error: OS call failed or operation not supported on this OS\nmore"),
            "a GPU cannot be used (CUDA error: OS call failed or operation not supported on this OS). The system ref",
        ),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"),
            "for execution on the device). Install a PyTorch that is built for this GPU.",
        ),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory"), "memory ran out ([enforce"),
    ],
)
def test_what_a_machine_refuses_is_one_line(error: Exception, told: str) -> None:
    found = of_machine(error)
    assert found is not None
    assert told in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ImportError("no such name"),
        FileNotFoundError(errno.ENOENT, "No such file", "a"),
        RuntimeError("memory"),
        RuntimeError("out of memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        # Of a rank whose neighbour has died too: the launcher takes a traceback for an echo, and names the neighbour.
        RuntimeError("CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error"),
        ValueError("CUDA error: out of memory"),
        OSError("x"),
    ],
)
def test_any_other_error_may_be_a_defect_and_keeps_its_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert of_machine(error) is None

    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(error)):
        cli.main()
    with pytest.raises(type(error)):
        workflow.or_exit(fail)


def test_a_command_that_is_refused_ends_with_a_line_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "results/mini")

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("stages: results/mini: refused (Permission denied). See that this user")


def test_a_signal_that_comes_again_while_a_stopped_run_ends_does_not_change_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> None:
        raise StoppedError("stopped after step 2")

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    for number in ASKING:
        assert signal.getsignal(number) is signal.SIG_IGN  # else the signal would end pytest
        signal.raise_signal(number)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stages: stopped after step 2\n"


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", "<&-"])
def test_a_file_never_gets_the_number_of_a_stream_that_was_closed(tmp_path: Path, closed: str) -> None:
    command = f'exec "$0" -c "$1" "$2" {closed}'
    ended = subprocess.run(
        ["sh", "-c", command, sys.executable, CODE, str(tmp_path / "weights")], stdin=subprocess.DEVNULL, check=False
    )
    assert ended.returncode == 0
    assert (tmp_path / "weights").read_bytes() == b""


def test_a_path_that_is_no_text_is_refused_before_weights_are_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / os.fsdecode(b"b\xff")
    (folder / "specs/scales").mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"found a path that is no text in UTF-8.*; allowed: UTF-8\. Rename"):
        opening.find_root()


def test_a_current_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `git checkout` of a branch without it."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (1, 1)
    assert said.startswith("stages: the current directory is not there any more")
