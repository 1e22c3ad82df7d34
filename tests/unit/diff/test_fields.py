"""Which fields of a stage differ, in the words of specs."""

from __future__ import annotations

from typing import Any

from stages.diff.fields import Field, differing
from stages.spec.resolved import Stage
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


def test_a_number_of_tokens_is_short_only_where_that_is_all_of_it() -> None:
    plain = stage(PROSE, budget=1_500_000)
    (exact,) = differing(plain, stage(PROSE, budget=2_000_000))
    (odd,) = differing(plain, stage(PROSE, budget=1_500_001))
    assert (exact.old, exact.new, odd.new) == ("1.5M", "2M", "1500001")


def test_a_fraction_has_six_digits() -> None:
    made = stage(PROSE)
    other = made.model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={"beta2": 0.9501})})
    assert list(differing(made, other)) == [Field("optimizer.beta2", "0.95", "0.9501")]


def test_another_parent_is_told_where_there_are_as_many() -> None:
    made = stage(PROSE)
    one, other = (made.model_copy(update={"parents": (name,)}) for name in ("p/a", "p/b"))
    assert list(differing(one, other)) == [Field("parents", "p/a", "p/b")]
