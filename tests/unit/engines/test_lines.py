"""Lines that several threads and nodes write into one stream: none is broken, and after a broken one nobody waits."""

from __future__ import annotations

import io
import queue
import threading
from types import SimpleNamespace

import pytest

from stages.engines import local, node, nodes
from stages.engines.local import Exit

ENDED = Exit(3, "n2", 1, "out of memory")


class Pieces(io.StringIO):
    """What was written, call by call: another thread may write between two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


@pytest.mark.parametrize("line", ["[rank 0] cut off by a kill", "[rank 0] whole\n"])
def test_a_line_and_its_end_are_written_at_once(line: str) -> None:
    stream = Pieces()
    local.say(line, stream)
    assert stream.pieces == [line.removesuffix("\n") + "\n"]


def test_a_report_and_its_end_are_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", stream := Pieces())
    node._report(ENDED)
    assert stream.pieces == [nodes.report(ENDED) + "\n"]


@pytest.mark.parametrize(
    "broken",
    [
        nodes.report(ENDED) + "[rank 1 on n2] 1 ends",  # as two prints of two threads once came out
        nodes.report(ENDED)[:-9],
        nodes.EXIT + "[]",
        nodes.EXIT + '{"rank": 3}',
    ],
)
def test_a_report_that_cannot_be_read_is_shown_and_the_others_are_heard(
    broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"{broken}\n[rank 0 on n1] works\n{nodes.report(ENDED)}\n"
    exits: queue.Queue[Exit | None] = queue.Queue()
    over = threading.Event()
    nodes._hear_ranks(SimpleNamespace(stdout=io.StringIO(said)), exits, over)  # type: ignore[arg-type]
    assert [exits.get_nowait() for _ in range(3)] == [ENDED, None, None]
    assert over.is_set()
    assert capsys.readouterr().err == f"{broken}\n[rank 0 on n1] works\n"
