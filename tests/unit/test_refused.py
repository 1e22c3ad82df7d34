"""The record of what is refused has cases that the tests run, and enough of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("pyarrow", reason="the tables of data are of files that pyarrow writes")

from tests import refused


def test_every_row_of_the_record_is_a_case_of_the_tests() -> None:
    """Cases that came later are not in it yet: `python -m tests.refused` writes them."""
    known = {(of, name) for of, name, _ in (*refused.releases(), *refused.data())}
    rows = [line.split(" | ") for line in refused.PATH.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    held = {(row[0].removeprefix("| "), row[1]) for row in rows}
    assert held - known == {("of", "case")}
    assert len(held) > 80


@pytest.mark.parametrize("cases", [refused.releases, refused.data])
def test_at_least_forty_are_refused_each_by_a_message_of_its_own(
    cases: Callable[[], list[tuple[str, str, str]]],
) -> None:
    found = cases()
    messages = [(of, outcome) for of, _, outcome in found if outcome != "taken"]
    assert len(messages) >= 40
    assert len({name for _, name, _ in found}) > 0.9 * len(found)
    assert any(outcome == "taken" for _, _, outcome in found)
