"""The number of a lease: given to one run, and the next one is the right to finish."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.store import lease

ELSEWHERE = '{"host": "elsewhere", "pid": 1, "started": 0.0, "token": 1}'  # as leases were before there were jobs


def test_the_right_to_finish_is_given_once(tmp_path: Path) -> None:
    """It is the next number: a later run has it, or gets one above it."""
    with lease.hold(tmp_path, "toy/one") as mine:
        lease.claim(tmp_path, mine)
        assert sorted(path.name for path in tmp_path.glob("token-*")) == ["token-000001", "token-000002"]
        with pytest.raises(lease.LeaseError) as caught:
            lease.claim(tmp_path, mine)
        assert str(caught.value) == (
            f"{tmp_path}: a later run has taken over from this one; its result is not put in place."
        )
    with lease.hold(tmp_path, "toy/one") as later:
        assert later.token == 3


def test_a_number_above_the_next_is_that_of_a_later_run_too(tmp_path: Path) -> None:
    with lease.hold(tmp_path, "toy/one") as mine:
        (tmp_path / "token-000003").touch()
        with pytest.raises(lease.LeaseError, match="a later run has taken over"):
            lease.claim(tmp_path, mine)


def test_numbers_are_those_of_files_of_their_name_and_no_others(tmp_path: Path) -> None:
    for name in ("token-000007", "token-7", "token-000009.tmp", "token-00000x", "xtoken-000009", "token-1234567"):
        (tmp_path / name).touch()
    with lease.hold(tmp_path, "toy/one") as mine:
        assert mine.token == 1_234_568


def test_a_run_that_is_faster_by_a_number_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts see no lease; one of them gets the number."""
    advice = "Wait for it, or end that process, and try again."
    monkeypatch.setattr(lease, "_take", lambda folder, token: False)
    with pytest.raises(lease.HeldError) as caught, lease.hold(tmp_path, "toy/one"):
        raise AssertionError("held twice")
    assert str(caught.value) == f"toy/one is already being run by another process. {advice}"
    monkeypatch.setattr(lease, "_take", lambda folder, token: (folder / "lease.json").write_text(ELSEWHERE) == 0)
    for _ in range(2):  # faster by a moment, and by a heartbeat
        with pytest.raises(lease.HeldError) as caught, lease.hold(tmp_path, "toy/one"):
            raise AssertionError("held twice")
        assert str(caught.value) == f"toy/one is already being run by process 1 on host elsewhere. {advice}"


def test_a_number_is_given_to_one_run_and_to_no_other(tmp_path: Path) -> None:
    """On this rests that of two hosts only one goes on: the file is made, or it was there."""
    assert [lease._take(tmp_path, 7) for _ in range(3)] == [True, False, False]
    assert lease._take(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["token-000007", "token-000008"]


def test_a_token_after_which_there_is_none_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / f"token-{lease.LAST:06d}").touch()
    with pytest.raises(lease.LeaseError, match="no run has taken so many leases"), lease.hold(tmp_path, "toy/one"):
        raise AssertionError("held, and could not finish")
    (tmp_path / f"token-{lease.LAST:06d}").rename(tmp_path / f"token-{lease.LAST - 1:06d}")
    with lease.hold(tmp_path, "toy/one") as mine:
        lease.claim(tmp_path, mine)
