"""Where each stage stands in the picture of its pipeline."""

from dataclasses import replace

import pytest

from stages.report.columns import NARROWEST, borders, columns, levels, lineage_parents
from tests.unit.report.make import B, T, kimi_like, ouro_like, points_like

OURO = {column.stage.ref: column for column in columns(ouro_like())}
KIMI = {column.stage.ref: column for column in columns(kimi_like())}


def test_a_lineage_goes_through_keep_and_upcycle() -> None:
    parents = lineage_parents(ouro_like())
    assert parents["ouro/anneal_a"] == ("ouro/stable1",)
    assert parents["ouro/anneal_b"] == ("ouro/stable1",)


def test_tokens_add_up_along_the_lineage() -> None:
    last = OURO["ouro/long_b"]
    assert (last.before, last.after) == (16 * B + 4 * T, 36 * B + 4 * T)


def test_stages_touch_and_the_language_row_spans_the_picture() -> None:
    chain = [OURO[f"ouro/{name}"] for name in ("warmup", "stable1", "anneal_a", "long_a")]
    assert chain[0].left == 0
    assert chain[-1].right == pytest.approx(1)
    assert [column.right for column in chain[:-1]] == [column.left for column in chain[1:]]


def test_parallel_branches_share_their_columns_and_differ_in_their_number() -> None:
    a, b = OURO["ouro/anneal_a"], OURO["ouro/anneal_b"]
    assert (a.left, a.right) == (b.left, b.right)
    assert (a.branch, b.branch) == (0, 1)
    assert OURO["ouro/long_b"].branch == 1


def test_a_stage_of_twenty_billion_tokens_beside_one_of_three_trillion_still_has_room_for_its_name() -> None:
    narrow, wide = (OURO[f"ouro/{name}"] for name in ("long_a", "stable1"))
    assert narrow.right - narrow.left >= NARROWEST * 0.8
    assert wide.right - wide.left > narrow.right - narrow.left


def test_the_vision_row_runs_beside_the_text_and_ends_where_both_are_joined() -> None:
    assert KIMI["kimi/vit"].row == KIMI["kimi/align"].row == "vision"
    assert KIMI["kimi/align"].right == pytest.approx(KIMI["kimi/joint"].left)
    assert KIMI["kimi/joint"].before == KIMI["kimi/text"].after


def test_a_point_within_a_stage() -> None:
    column = OURO["ouro/stable1"]
    assert column.at(0) == column.left
    assert column.at(3 * T) == pytest.approx(column.right)


def test_a_branch_from_a_point_has_no_count_where_the_trunk_s_counts_say_another() -> None:
    """Its column is wider than the part of the trunk's beside it."""
    laid = columns(points_like(T // 2))
    ends = {one.stage.name: (one.right, one.after) for one in laid}
    assert ends["decay_0_b"][0] > ends["trunk"][0]
    assert ends["decay_0_b"][1] < ends["trunk"][1]
    assert [text for _, text in borders(laid)] == ["0", "1T", "2T"]


def test_texts_that_would_touch_are_in_rows_of_their_own() -> None:
    assert levels([(0, 2), (3, 5), (6, 8)]) == [0, 0, 0]
    assert levels([(0, 4), (3, 5), (4, 6), (5, 7)]) == [0, 1, 0, 1]
    assert levels([(3, 5), (0, 4)]) == [1, 0]
    assert levels([]) == []


def test_branches_that_end_in_one_place_with_other_counts_have_both_at_the_border() -> None:
    stages = ouro_like()
    laid = columns(stages)
    place = next(column.right for column in laid if column.stage.name == "anneal_a")
    shorter = [replace(one, after=one.after - T // 10) if one.stage.name == "anneal_b" else one for one in laid]
    assert dict(borders(laid))[round(place, 9)] == "4.02T"
    assert dict(borders(shorter))[round(place, 9)] == "3.92T / 4.02T"
