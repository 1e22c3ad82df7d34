"""What a run's offline files of W&B contain: `run-<id>.wandb`, LevelDB's log of protobuf records, behind seven bytes.

Its process writes them on its own and does not report a disk that refuses; `wandb sync` sends what is whole in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

BEGINNING = b":W&B"
HEAD = 7  # bytes before the first record, and of the head of each piece: a checksum, a length, a kind
BLOCK = 32 << 10  # bytes: no piece of a record goes on into the next block
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[bytes]:
    """The records of a file; those behind a place where it was cut off are none."""
    data = path.read_bytes()
    at, parts = HEAD, b""
    while data.startswith(BEGINNING) and at + HEAD <= len(data):
        if BLOCK - at % BLOCK < HEAD:  # too little is left of this block for a head
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece = data[at + HEAD : at + HEAD + size]
        if len(piece) < size or kind not in (WHOLE, FIRST, MIDDLE, LAST):
            return
        at += HEAD + size
        parts = piece if kind in (WHOLE, FIRST) else parts + piece
        if kind in (WHOLE, LAST):
            yield parts


def kept(paths: Iterable[Path]) -> tuple[int, bool]:
    """The last step in these files of one run, -1 without one, and whether one of them has the run's end."""
    from google.protobuf.message import DecodeError
    from wandb.proto.wandb_internal_pb2 import Record

    last, ended = -1, False
    for path in paths:
        for data in records(path):
            try:
                record = Record.FromString(data)
            except DecodeError:
                break
            if record.HasField("history"):
                last = max(last, record.history.step.num)
            ended = ended or record.HasField("exit")
    return last, ended
