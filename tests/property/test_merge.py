"""Merging runs is sorting all documents at once: for any runs, any number of them at a time, and any memory."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.data.corpus import mmidx
from stages.data.preparing import merge, merge_blocks, sorted_runs
from stages.data.preparing.progress import Progress
from stages.data.preparing.sorted_runs import Documents, Run

RANKS = (0, 1, 7, 1 << 63, (1 << 64) - 1)  # few, so that many are equal


@dataclass(frozen=True)
class Made:
    """A document as a run has it; `said` is what another one says too."""

    rank: int
    origin: int
    heldout: bool
    tokens: tuple[int, ...]

    @property
    def said(self) -> tuple[int, int]:
        return self.rank, self.origin


@st.composite
def documents(draw: st.DrawFn) -> Made:
    rank, origin = draw(st.sampled_from(RANKS)), draw(st.integers(0, 3))
    tokens = draw(st.lists(st.integers(0, 60_000), max_size=6))
    return Made(rank, origin, origin == 0, tuple(tokens))


def written(folder: Path, number: int, made: list[Made], supervised: bool) -> Run:
    tokens = np.array([token for one in made for token in one.tokens], dtype="<u2")
    columns = Documents(
        np.array([one.rank for one in made], dtype="<u8"), np.array([one.origin for one in made], dtype="<u8"),
        np.array([one.heldout for one in made], dtype=bool), np.array([len(one.tokens) for one in made], dtype="<i8"),
        tokens, (tokens % 2).astype(np.uint8) if supervised else None,
    )  # fmt: skip
    return sorted_runs.write(folder / f"{number:06d}-0000", columns, len(made), True, [])


def sorted_at_once(every: list[list[Made]], once: bool) -> list[Made]:
    """The documents in order; with `once`, the first of those that say the same."""
    seen: set[tuple[int, int]] = set()
    order = sorted((one for made in every for one in made), key=lambda one: (one.heldout, one.rank))
    return [one for one in order if not once or not (one.said in seen or seen.add(one.said))]


@pytest.mark.slow  # every example writes its runs
def quiet() -> Progress:
    return Progress("mine", 0, io.StringIO())


@given(
    every=st.lists(st.lists(documents(), max_size=7), min_size=1, max_size=11), once=st.booleans(),
    supervised=st.booleans(), fan=st.integers(2, 12), stretch=st.sampled_from([1, 700, 3000, 1 << 25]),
)  # fmt: skip
def test_merged_runs_are_all_documents_sorted(
    every: list[list[Made]], once: bool, supervised: bool, fan: int, stretch: int
) -> None:
    wanted = sorted_at_once(every, once)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        patch.setattr(merge, "FAN", fan)
        patch.setattr(merge_blocks, "STRETCH", stretch)
        found = [written(folder, number, made, supervised) for number, made in enumerate(every)]
        made = merge.merge("mine", found, folder, once)
        contents = {
            file: b"".join([blocks] if isinstance(blocks, bytes) else blocks)
            for file, blocks in made.contents(supervised, quiet()).items()
        }
        lengths = np.array([len(one.tokens) for one in wanted], dtype=np.int64)
        tokens = np.array([token for one in wanted for token in one.tokens], dtype="<u2")
        assert contents["tokens.bin"] == tokens.tobytes()
        assert contents["tokens.idx"] == mmidx.index_bytes(lengths, tokens.dtype)
        assert sum(map(len, contents.values())) == made.bytes(supervised)
        if supervised:
            assert contents["mask.bin"] == (tokens % 2).astype(np.uint8).tobytes()
        assert (made.documents, made.heldout) == (
            sum(not one.heldout for one in wanted),
            sum(one.heldout for one in wanted),
        )
        assert made.size == sum(len(one.tokens) for one in wanted if not one.heldout)
        assert made.longest == max((len(one.tokens) for one in wanted), default=0)
        assert made.dropped == sum(map(len, every)) - len(wanted)


@pytest.fixture
def many(tmp_path: Path) -> list[Run]:
    draw = np.random.default_rng(3)

    def some() -> list[Made]:
        return [Made(int(draw.integers(1 << 63)), 5, False, (1, 2, 3)) for _ in range(40)]

    return [written(tmp_path, number, some(), False) for number in range(30)]


def test_files_that_are_open_at_once_are_bounded_and_each_is_opened_once_a_pass(
    many: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fan, most, opened = 4, 0, list[str]()
    open_file, before = merge_blocks.os.open, psutil.Process().num_fds()

    def counted(path: Path, flags: int) -> int:
        nonlocal most
        opened.append(str(path))
        most = max(most, psutil.Process().num_fds() - before)
        return open_file(path, flags)

    monkeypatch.setattr(merge, "FAN", fan)
    monkeypatch.setattr(merge_blocks, "STRETCH", 6000)
    monkeypatch.setattr(merge_blocks, "os", type("os", (), {**vars(merge_blocks.os), "open": staticmethod(counted)}))
    made = merge.merge("mine", many, tmp_path)
    blocks = list(made.contents(False, quiet())["tokens.bin"])
    assert made.documents == 30 * 40
    assert len(blocks) > 10
    assert len(made.runs) <= fan
    assert most <= fan * merge_blocks.FILES
    columns = 6  # of a run: five are merged, each beside `rank` and `length`
    assert max(opened.count(path) for path in opened) <= 2 * columns + 2


def test_longer_runs_are_used_again_after_a_kill_and_made_again_where_damaged(
    many: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "FAN", 4)
    wanted = list(merge.merge("mine", many, tmp_path).contents(False, quiet())["tokens.bin"])
    damaged = tmp_path / "merged-0-000001" / "tokens"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    longer = merge._longer
    again: list[str] = []
    monkeypatch.setattr(
        merge,
        "_longer",
        lambda found, place, once, shown: again.append(place.name) or longer(found, place, once, shown),
    )
    assert list(merge.merge("mine", many, tmp_path).contents(False, quiet())["tokens.bin"]) == wanted
    assert again == ["merged-0-000001"]
