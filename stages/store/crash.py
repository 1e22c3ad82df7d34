"""What a run leaves that ends at a fatal signal, such as SIGSEGV or SIGBUS, which no code of ours can handle.

Python writes where it was into a file of the attempt's folder, and the signal then does what it does anyway.
"""

from __future__ import annotations

import faulthandler
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stages.printable import printable
from stages.store import files
from stages.store.disk import without_waiting

NAME = "crash.txt"  # in an attempt's folder
LIMIT = 16 << 10  # bytes that are read of it
_ERROR = re.compile(r"\AFatal Python error: (.{1,80})\n")
_FRAME = re.compile(r'^  File "(.{1,300})", line (\d{1,9}) in (.{1,200})$', re.MULTILINE)  # the innermost comes first
_UNREADABLE = (
    "a file that is mapped into memory was cut off, or its disk could not be read: `dmesg`, and `stages status --deep`"
)
_DEFECT = "a defect of a library or of this machine: where a rerun ends the same way, report it with the log"
_ADVICE = {"Bus error": _UNREADABLE}


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Have Python write a fatal signal within the block to a file in `folder`, unless it prints it elsewhere already.

    Raises WriteError.
    """
    if faulthandler.is_enabled():  # PYTHONFAULTHANDLER is set, or pytest reports
        yield
        return
    path = folder / NAME
    with files.failing(path):
        file = open(path, "wb", opener=without_waiting)  # noqa: SIM115 (closed below)
    with file:
        faulthandler.enable(file, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()
            with suppress(OSError):  # it is empty
                path.unlink()


def described(folder: Path) -> str:
    """How the run of an attempt crashed, where, and what to do; "" if nothing was recorded."""
    try:
        with open(folder / NAME, "rb", opener=without_waiting) as file:
            text = file.read(LIMIT).decode(errors="replace")
    except OSError:
        return ""
    error, frame = _ERROR.match(text), _FRAME.search(text)
    if error is None:
        return ""
    where = f" in {frame[3]} ({frame[1]}:{frame[2]})" if frame else ""
    return printable(f"crashed: {error[1]}{where}; {_ADVICE.get(error[1], _DEFECT)}")
