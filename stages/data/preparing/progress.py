"""How far a preparation is: bytes done of all bytes, the rate, and how long it will take.

What an earlier preparation left counts as done, and not in the rate.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TextIO

PAUSE = {True: 0.5, False: 30.0}  # seconds between two lines, on a terminal and elsewhere
LEAST = 2.0  # seconds before which a rate says nothing


class Progress:
    """Lines on stderr: one that is overwritten on a terminal, one every half minute elsewhere."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None, did: str = "read") -> None:
        self.name, self.total, self.did = name, total, did
        self._stream = sys.stderr if stream is None else stream
        self._begun = self._shown_at = self._worked = time.monotonic()
        self._terminal = self._stream.isatty()
        self._shown, self._read = False, 0

    def add(self, read: int) -> None:
        """`read` more bytes are done."""
        self._read += read
        self.show(self._read)

    def show(self, read: int, kept: int = 0) -> None:
        """`read` bytes are done, `kept` of them by an earlier preparation."""
        now = time.monotonic()
        if read <= kept:
            self._worked = now  # what was kept is being looked through: the rate begins behind it
        if now - self._shown_at < PAUSE[self._terminal] or now - self._begun < LEAST:
            return
        self._shown_at = now
        self._print(self._line(read, kept, now - self._worked))

    def counted(self, blocks: Iterable[memoryview]) -> Iterator[memoryview]:
        """The blocks, whose bytes are done once the next one is wanted."""
        for block in blocks:
            yield block
            self.add(block.nbytes)

    def close(self) -> None:
        """End the line that would be overwritten."""
        if self._shown and self._terminal:
            print(file=self._stream)

    def _line(self, read: int, kept: int, seconds: float) -> str:
        share = 100 * read / max(1, self.total)
        line = f"{self.name}: {share:.0f}% of {self.total / 1e6:,.1f} MB {self.did}"
        if kept:
            line += f" ({kept / 1e6:,.1f} MB before)"
        if read <= kept:
            return line
        rate = (read - kept) / seconds
        return f"{line}, {rate / 1e6:,.1f} MB/s, {timedelta(seconds=round((self.total - read) / rate))} left"

    def _print(self, line: str) -> None:
        end = "\033[K\r" if self._terminal else "\n"
        print(line, end=end, file=self._stream, flush=True)
        self._shown = True
