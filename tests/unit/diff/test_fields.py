"""Which fields of a stage differ, in the words of specs."""

from __future__ import annotations

from typing import Any

import pytest

from stages.diff.fields import Field, differing
from stages.spec.resolved import Share, Stage
from stages.spec.resolved_phases import Source
from tests.unit.train import tiny


def source(corpus: str, weight: int, group: Any = "text") -> Source:
    return Source(corpus=corpus, group=group, weight=weight, start=0, end=10_000, digest="0" * 64)


def stage(*sources: Source, **changes: Any) -> Stage:
    return tiny.stage({"llm": tiny.LLAMA}, (tiny.phase("joint", sources=sources, **changes),), ("llm",))


PROSE, CODE, PICTURES = source("prose", 3), source("code", 1), source("captions", 5, "multimodal")


def test_a_share_is_of_its_group_and_weights_are_not_shown() -> None:
    old, new = stage(PROSE, CODE, PICTURES), stage(PROSE, source("code", 5), PICTURES)
    assert list(differing(old, new)) == [
        Field("phases.main.prose.share", "75%", "37.5%"), Field("phases.main.code.share", "25%", "62.5%"),
    ]  # fmt: skip


def test_what_only_one_side_has_is_told_from_both() -> None:
    less, more = stage(PROSE), stage(PROSE, PICTURES)
    added, removed = list(differing(less, more)), list(differing(more, less))
    share = Field("phases.main.captions.share", None, "100%")
    assert share in added
    assert {(one.path, one.new, one.old) for one in removed} == {(one.path, one.old, one.new) for one in added}


def test_the_parts_of_a_merge_go_by_its_parents() -> None:
    def soup(*parents: str) -> Stage:
        parts = tuple(Share(parent=one, part=(1, len(parents))) for one in parents)
        return stage(PROSE).model_copy(update={"merge": parts})

    shown = [one for one in differing(soup("p/b", "p/c"), soup("p/a", "p/b", "p/c")) if one.path.endswith(".part")]
    assert shown == [
        Field("merge.p/b.part", "1/2", "1/3"), Field("merge.p/c.part", "1/2", "1/3"),
        Field("merge.p/a.part", None, "1/3"),
    ]  # fmt: skip


def test_a_number_of_tokens_is_short_only_where_that_is_all_of_it() -> None:
    plain = stage(PROSE, budget=1_500_000)
    (exact,) = differing(plain, stage(PROSE, budget=2_000_000))
    (odd,) = differing(plain, stage(PROSE, budget=1_500_001))
    assert (exact.old, exact.new, odd.new) == ("1.5M", "2M", "1500001")


def test_a_fraction_has_six_digits() -> None:
    made = stage(PROSE)
    other = made.model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={"beta2": 0.9501})})
    assert list(differing(made, other)) == [Field("optimizer.beta2", "0.95", "0.9501")]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("eps", 1e-8, 1.0000001e-8), ("beta2", 0.95, 0.9500000001), ("weight_decay", 0.1, 0.1 + 1e-16)],
)
def test_numbers_alike_in_six_digits_have_all_of_them(name: str, old: float, new: float) -> None:
    made = stage(PROSE)
    one, other = (
        made.model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={name: value})}) for value in (old, new)
    )
    assert list(differing(one, other)) == [Field(f"optimizer.{name}", repr(old), repr(new))]


def test_a_share_that_differs_beyond_six_digits_is_told() -> None:
    old, new = (
        stage(source("prose", 3), source("code", 1)),
        stage(source("prose", 30_000_001), source("code", 10_000_000)),
    )
    assert [one.path for one in differing(old, new)] == ["phases.main.prose.share", "phases.main.code.share"]
    assert all(one.old != one.new for one in differing(old, new))


def test_sources_in_another_order_are_told_by_what_moved() -> None:
    old, new = stage(PROSE, CODE, PICTURES), stage(CODE, PROSE, PICTURES)
    assert list(differing(old, new)) == [Field("phases.main.sources.order", "prose, code", "code, prose")]
    added = [one.path for one in differing(stage(PROSE, PICTURES), stage(PROSE, CODE, PICTURES))]
    assert "phases.main.sources.order" not in added


def test_a_phase_with_another_name_is_the_phase_it_was() -> None:
    old, new = stage(PROSE, CODE), stage(CODE, PROSE, name="first", epochs=2)
    assert list(differing(old, new)) == [
        Field("phases.first.epochs", "1", "2"), Field("phases.first.sources.order", "prose, code", "code, prose"),
    ]  # fmt: skip


def test_the_order_of_parents_is_in_no_key() -> None:
    made = stage(PROSE)
    one, other = (made.model_copy(update={"parents": names}) for names in (("p/a", "p/b"), ("p/b", "p/a")))
    assert list(differing(one, other)) == []


def test_another_parent_is_told_where_there_are_as_many() -> None:
    made = stage(PROSE)
    one, other = (made.model_copy(update={"parents": (name,)}) for name in ("p/a", "p/b"))
    assert list(differing(one, other)) == [Field("parents", "p/a", "p/b")]
