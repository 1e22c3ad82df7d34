"""A stage's log: what its run prints, and the error that ended it."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TextIO

from stages.errors import UserError
from stages.store import files
from stages.store.disk import without_waiting


class _Tee:
    """Writes to a stream and to the stage's log. `alone`: no other process draws on the same terminal."""

    def __init__(self, stream: TextIO, log: IO[str], alone: bool) -> None:
        self._stream, self._log, self._alone = stream, log, alone

    def write(self, text: str) -> int:
        with files.failing(Path(self._log.name)):
            self._log.write(text)
        with suppress(OSError):  # a terminal that went away: the run writes its checkpoint, and the log has its words
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with files.failing(Path(self._log.name)):
            self._log.flush()
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._alone and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def logged(path: Path, alone: bool = True) -> Iterator[None]:
    """Copy what is printed to the stage's log; an error is written there too. Raises WriteError.

    Where a rule runs the stage, others may run at the same time, whose bars would draw over each other: it prints
    lines.
    """
    files.make_dirs(path.parent)
    out, err = sys.stdout, sys.stderr
    with files.failing(path):
        log = open(path, "a", encoding="utf-8", opener=without_waiting)  # noqa: SIM115 (closed below)
    sys.stdout, sys.stderr = _Tee(out, log, alone), _Tee(err, log, alone)
    text = ""
    try:
        yield
    except UserError as error:
        text = f"{error}\n"
        raise
    except Exception:
        text = traceback.format_exc()  # a defect of ours: the log must tell where
        raise
    finally:
        sys.stdout, sys.stderr = out, err
        ignored = (files.WriteError,) if text else ()  # the error that ended the run is shown, not this
        with suppress(*ignored), files.failing(path), log:
            log.write(text)
