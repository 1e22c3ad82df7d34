"""Ctrl-C while Snakemake reads its rules or the closing table is printed: one line instead of a traceback."""

from __future__ import annotations

import sys
from types import TracebackType

SAID = "stopped by Ctrl-C; stages that are done stay done, and `snakemake` runs the others"


def say_interrupts() -> None:
    """From here on, say an interrupt that nothing handles in one line; the exit code stays that of SIGINT."""
    before = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(f"\n{SAID}", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = show
