"""A large file: memory that does not grow with it, and the same bytes however often all processes are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.data.files.pieces import PIECE
from stages.store.files import write_atomic
from tests.faults import large_record
from tests.faults.large_input import ROOT, Sizes, compare

GB = 10**9


@pytest.mark.slow
def test_a_preparation_that_is_killed_twice_comes_to_the_same_bytes(tmp_path: Path) -> None:
    found = compare(tmp_path, 20 * 10**6, Sizes(2, piece=1 << 20), kills=2, seed=3)
    kept = [part.runs for part in found.parts[:-1]]
    assert kept == sorted(kept), "what is encoded is not encoded again"
    assert kept[-1] > 0


@pytest.mark.nightly
def test_a_gigabyte_takes_less_than_a_gigabyte_of_memory_and_five_kills(tmp_path: Path) -> None:
    found = compare(tmp_path, GB, Sizes(2, PIECE), kills=5, seed=1)
    assert max(part.memory for part in (found.undisturbed, *found.parts)) < GB
    write_atomic(ROOT / large_record.PATH, large_record.page(found).encode())
