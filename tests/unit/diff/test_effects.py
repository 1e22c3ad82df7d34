"""What a change does to a stage, line by line."""

from __future__ import annotations

from dataclasses import replace

from stages.diff.curve import CurveChange
from stages.diff.effects import effects, grouped
from stages.diff.fields import Field
from stages.diff.semantic import StageChange
from stages.spec.resolved_models import Llama3Scaling, Rope

NOTHING = StageChange("p/s", ("a", "b"), (), None, None, (100, 100), (5, 5), (0, 0), (2.0, 3.0))
LONG, SHORT = Field("phases.long.budget", "1B", "2B"), Field("phases.short.budget", "3B", "4B")


def test_a_stages_only_budget_is_told_once() -> None:
    one = replace(NOTHING, fields=(LONG,), tokens=(10**9, 2 * 10**9), steps=(5, 10))
    assert effects(one) == ["budget 1B → 2B (+100%), steps 5 → 10"]
    assert effects(replace(one, fields=(LONG, SHORT)))[1:] == [
        "phases.long.budget 1B → 2B", "phases.short.budget 3B → 4B",
    ]  # fmt: skip


def test_of_many_fields_the_first_are_shown_and_the_rest_counted() -> None:
    def of(number: int) -> list[str]:
        return effects(replace(NOTHING, fields=tuple(Field(f"f{n}", "1", "2") for n in range(number))))

    assert of(4) == ["f0 1 → 2", "f1 1 → 2", "f2 1 → 2", "f3 1 → 2"]
    assert of(5)[4:] == ["and 1 more field"]
    assert of(6)[4:] == ["and 2 more fields"]


def test_a_shorter_curve_is_said_to_be_the_same_up_to_its_end() -> None:
    change = CurveChange(5000, False, 0.0, (1e-3, 1e-3), (1e-3, 1e-4), (1e-3, 1e-3))
    assert effects(replace(NOTHING, lr=change)) == [
        "LR begins at its peak, 1e-3 as before, ends 1e-3 → 1e-4; the same curve up to clock 5K, where the shorter ends"
    ]


def test_positions_that_read_the_same_differ_in_the_fields_that_differ() -> None:
    scaling = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192)
    old = Rope(base=500_000.0, llama3=scaling, interpolation=1.0)
    new = old.model_copy(update={"llama3": scaling.model_copy(update={"low": 2.0})})
    assert effects(replace(NOTHING, rope=(old, new))) == ["RoPE 500K x8: llama3.low 1 → 2"]


def test_what_the_words_of_positions_leave_out_is_told_beside_them() -> None:
    scaling = Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=8192)
    old = Rope(base=500_000.0, llama3=scaling, interpolation=1.0)
    near = old.model_copy(update={"base": 500_001.0})
    assert effects(replace(NOTHING, rope=(old, near))) == ["RoPE 500K x8: base 500000 → 500001"]
    other = Rope(base=1e6, llama3=scaling.model_copy(update={"factor": 4.0, "original": 4096}), interpolation=2.0)
    assert effects(replace(NOTHING, rope=(old, other))) == ["RoPE 500K x8 → 1M x4 /2: llama3.original 8192 → 4096"]


def test_the_clock_is_that_of_the_first_phase() -> None:
    later = Field("phases.second.clock_start", "1B", "2B")
    assert effects(replace(NOTHING, fields=(LONG, SHORT, later)))[0] == "phases.long.budget 1B → 2B"
    moved = replace(NOTHING, fields=(later,), clock=(1_000_000_000, 2_000_000_000))
    assert effects(moved) == ["clock begins at 1B → 2B"]
    assert effects(replace(moved, clock=(None, 0))) == ["clock begins at nothing → 0"]


def test_a_corpus_that_is_new_has_its_share_alone() -> None:
    new = [Field(f"phases.main.sources.prose.{name}", None, "x") for name in ("corpus", "group", "digest")]
    share = Field("phases.main.prose.share", None, "5%")
    assert effects(replace(NOTHING, fields=(*new, share))) == ["phases.main.prose.share nothing → 5%"]
    digest = Field("phases.main.sources.prose.digest", "x", "y")
    assert effects(replace(NOTHING, fields=(digest,))) == ["phases.main.sources.prose.digest x → y"]


def test_stages_that_change_alike_have_one_line_and_the_hours_of_all() -> None:
    other = replace(NOTHING, ref="p/t", device_hours=(10.0, 20.0))
    (group,) = grouped([NOTHING, other])
    assert (group.refs, group.hours) == (["p/s", "p/t"], (12.0, 23.0))
