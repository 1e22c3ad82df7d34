"""The standard streams of a command, where its caller closed some of them."""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Open the standard streams that are closed, on the null device.

    The next file that a run opens, such as a checkpoint, would get the number of one, and with it whatever a library
    prints there; and Python has no stream to print to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (as long as we run)
