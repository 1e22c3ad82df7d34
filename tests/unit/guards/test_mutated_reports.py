"""Every guard is silent on a right report, and speaks, with its own id, on each mutated one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest

from stages.contract.mixture import Mixture
from stages.guards import preference, run, tensors
from stages.guards.findings import GuardError, refuse
from stages.guards.report import BuiltReport, EndReport, StepRow
from stages.spec.resolved import Waiver
from tests.mutants.reported import (
    DEEPER,
    GOOD_BUILT,
    GOOD_CONFIG,
    GOOD_END,
    MEASURED,
    MUTANTS,
    OF_PAIRS,
    PREFERRED,
    STAGE,
    UPCYCLED,
    end,
    found,
    frequencies,
    module,
    preferred,
    read,
    referred,
    row,
)
from tests.unit.guards import reports
from tests.unit.train import tiny


@pytest.mark.parametrize(("id", "defect", "made"), MUTANTS, ids=[f"{one[0]} {one[1]}" for one in MUTANTS])
def test_a_mutated_report_is_found(id: str, defect: str, made: Callable[[], Any]) -> None:
    assert {finding.id for finding in found(STAGE, made())} == {id}


@pytest.mark.parametrize(("id", "defect", "report"), UPCYCLED, ids=[one[1] for one in UPCYCLED])
def test_a_mutated_upcycling_is_found(id: str, defect: str, report: BuiltReport) -> None:
    assert {finding.id for finding in found(DEEPER, report)} == {id}


@pytest.mark.parametrize(("id", "defect", "report"), OF_PAIRS, ids=[one[1] for one in OF_PAIRS])
def test_a_mutated_preference_training_is_found(id: str, defect: str, report: BuiltReport | EndReport) -> None:
    assert {finding.id for finding in found(PREFERRED, report)} == {id}


@pytest.mark.parametrize(
    ("loss", "weight", "begins"),
    [("dpo", 0.0, math.log(2)), ("dpo", 0.25, math.log(2) + 1), ("apo_zero", 0.0, 0.0), ("apo_zero", 0.25, 1.0)],
)
def test_where_policy_and_reference_are_one_a_loss_begins_with_what_its_formula_gives(
    loss: Any, weight: float, begins: float
) -> None:
    settings = tiny.PREFERENCE.model_copy(update={"loss": loss, "nll": weight})
    assert preference.begins_at(settings, 4.0) == pytest.approx(begins)


def test_a_reference_in_the_types_that_the_policy_computes_with_is_the_parent_too() -> None:
    rounded = {**reports.WEIGHTS, "model.layers.0.q.weight": "c"}
    assert not list(found(PREFERRED, referred(read_frozen=rounded, computed=rounded)))
    assert {one.id for one in found(PREFERRED, referred(computed=rounded))} == {"I-49"}, "in fp32 beside one in bf16"


def test_a_fresh_model_under_another_base_is_i_11() -> None:
    fresh = {name: init.model_copy(update={"weights": "fresh", "optimizer": "reset", "parent": None})
             for name, init in STAGE.init.items()}  # fmt: skip
    made = STAGE.model_copy(update={"init": fresh})
    for base in (1e4, 5e6):
        assert {one.id for one in found(made, module(frequencies=frequencies(base=base)))} == {"I-11"}


def test_right_reports_are_passed_over_in_silence() -> None:
    assert not found(STAGE, GOOD_BUILT)
    assert not found(STAGE, GOOD_END)
    assert not found(STAGE, GOOD_CONFIG)
    assert not found(DEEPER, reports.built(DEEPER))
    assert not found(PREFERRED, referred())
    assert not found(PREFERRED, preferred())


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (preferred(pair=replace(MEASURED, ratios=(-0.5, 0.25))), ["-0.5 of a chosen", "0.25 of a rejected"]),
        (preferred(pair=replace(MEASURED, ratios=(0.5, 0.0))), ["0 of a rejected"]),
        (preferred(margin=0.0), ["no pair with a margin at any step"]),
    ],
    ids=["exchanged", "one answer under one model", "the policy compared with itself"],
)
def test_policy_and_reference_are_told_apart_once_the_policy_has_moved(report: EndReport, said: list[str]) -> None:
    observed = [one.observed for one in found(PREFERRED, report) if one.id == "I-49"]
    assert len(observed) == len(said)
    assert all(words in one for words, one in zip(said, observed, strict=True))


def test_a_difference_that_may_be_rounding_has_no_sign() -> None:
    near = replace(MEASURED, ratios=(-0.001, 0.0), policy=(-10.001, -10.75))
    assert not found(PREFERRED, preferred(pair=near))


def test_two_units_in_the_last_place_are_rounding_and_three_are_not() -> None:
    import numpy as np

    exact = np.array(frequencies(), dtype=np.float32)
    near, far = (exact + steps * np.spacing(exact) for steps in (np.float32(2), np.float32(3)))
    assert not found(STAGE, module(frequencies=tuple(near.tolist())))
    assert found(STAGE, module(frequencies=tuple(far.tolist())))


def test_every_invariant_with_a_guard_has_two_mutants() -> None:
    counts = Counter(id for id, *_ in (*MUTANTS, *UPCYCLED, *OF_PAIRS)) + Counter({"I-11": 2})
    assert {id for id, count in counts.items() if count < 2} == set()


def test_a_waived_finding_does_not_stop() -> None:
    made = STAGE.model_copy(
        update={"waivers": (Waiver(id="I-32", at=("phases",), found="none", reason="the variant has no gate"),)}
    )
    report = end(exits=replace(GOOD_END.exits, sums=(0.0,)))  # type: ignore[type-var]
    run.check_end(made, report)
    with pytest.raises(GuardError, match="I-32 at tiny/box"):
        run.check_end(STAGE, report)


def test_a_waiver_excuses_what_is_found_in_its_own_phase() -> None:
    """A waiver of specs names what specs can show, such as a stretch that is too short; a run then finds it there."""
    phase = STAGE.phases[0]
    again = read(segments={"prose": ((1000, 1010, 2), (1010, 1800, 1))})
    places = (f"phases.{phase.name}.data.prose", "phases.another.data.prose")
    mine, another = (Waiver(id="I-18", at=(one,), found="2", reason="a small corpus, on purpose") for one in places)
    run.check_end(STAGE.model_copy(update={"waivers": (mine,)}), again)
    with pytest.raises(GuardError, match="I-18 at tiny/box"):
        run.check_end(STAGE.model_copy(update={"waivers": (another,)}), again)


def test_the_error_lists_every_finding_and_says_what_names_the_specs_files() -> None:
    with pytest.raises(GuardError) as error:
        refuse(found(STAGE, read(bos=31)) + found(STAGE, row(0, lr=1.0)))
    assert [one.id for one in error.value.findings] == ["I-20", "I-02"]
    first, second, files = str(error.value).splitlines()
    assert first.startswith("I-20 at tiny/box (mini): found ")
    assert second.startswith("I-02 at tiny/box (mini): found ")
    assert files == "`stages show tiny/box --scale mini` names the spec's files."


FIRST_TWO = replace(GOOD_END.rows[1], supervised=GOOD_END.rows[0].supervised + GOOD_END.rows[1].supervised)


@pytest.mark.parametrize("change", [{"clock": GOOD_END.clock - 16}, {"rows": (FIRST_TWO, *GOOD_END.rows[2:])}])
def test_the_clock_and_the_rows_of_metrics_are_counted_too(change: dict[str, Any]) -> None:
    assert {one.id for one in found(STAGE, end(**change))} == {"I-09"}


@pytest.mark.parametrize(("sums", "entropies"), [((float("nan"),), ()), ((), (-0.5,))])
def test_an_exit_that_is_no_probability_is_found(sums: tuple[float, ...], entropies: tuple[float, ...]) -> None:
    assert GOOD_END.exits is not None
    report = end(exits=replace(GOOD_END.exits, sums=sums, entropies=entropies))
    assert {one.id for one in found(STAGE, report)} == {"I-32"}


def test_a_source_that_gives_too_little_is_found_though_no_other_gives_too_much() -> None:
    """What it lacks is divided among the others."""
    assert GOOD_END.reads is not None
    picked = list(GOOD_END.reads[0].picked)
    sources = STAGE.phases[0].sources
    lacking = max(range(len(sources)), key=picked.count)
    others = cycle(number for number in range(len(sources)) if number != lacking)
    for place in [place for place, one in enumerate(picked) if one == lacking][: Mixture(STAGE.phases[0]).depth + 3]:
        picked[place] = next(others)
    (one,) = found(STAGE, read(picked=tuple(picked)))
    assert one.id == "I-30"
    assert one.observed.endswith(f"rows from {sources[lacking].corpus}")


@pytest.mark.parametrize("change", [{"max_position": GOOD_CONFIG.max_position * 2}, {"rope_theta": 5e6}])
def test_a_config_that_says_too_much_is_found_as_one_that_says_too_little(change: dict[str, Any]) -> None:
    assert {one.id for one in found(STAGE, replace(GOOD_CONFIG, **change))} == {"I-14"}


def test_a_digest_is_of_type_and_shape_too() -> None:
    digests = {tensors.digest(*one, b"01234567") for one in (("F32", [2]), ("F32", [1, 2]), ("BF16", [2]))}
    assert len(digests) == 3


def test_a_clock_that_stands_still_is_found_though_its_rate_is_the_schedule_s() -> None:
    (one,) = found(STAGE, row(3, clock=GOOD_END.rows[2].clock, lr=GOOD_END.rows[2].lr))
    assert (one.id, one.observed) == ("I-02", "a clock that goes back or stands still")


def test_another_number_that_a_schedule_gives_is_held_to_it_too() -> None:
    """Here a weight decay that is the learning rate, before the first step and in every row."""
    assert STAGE.optimizer is not None
    optimizer = STAGE.optimizer.model_copy(update={"weight_decay": STAGE.schedule})
    decayed = STAGE.model_copy(update={"optimizer": optimizer})
    rows = [replace(one, numbers={"weight_decay": one.lr}) for one in GOOD_END.rows]
    assert not found(decayed, replace(GOOD_BUILT, numbers={"weight_decay": GOOD_BUILT.rates["llm"]}))
    assert not found(decayed, end(rows=tuple(rows)))
    rows[3] = replace(rows[3], numbers={"weight_decay": 0.1})
    assert {one.id for one in found(decayed, replace(GOOD_BUILT, numbers={"weight_decay": 0.1}))} == {"I-01"}
    assert {one.id for one in found(decayed, end(rows=tuple(rows)))} == {"I-02"}


def test_a_module_that_inherits_and_shows_no_tensor_at_all_is_found() -> None:
    assert {one.id for one in found(STAGE, module(weights={}, parent_weights={}))} == {"I-15"}


def test_an_engine_that_does_not_say_what_it_read_is_held_to_the_rest() -> None:
    assert not found(STAGE, end(reads=None))
    assert found(STAGE, end(reads=None, rows=(StepRow(1, 0.0, 0),)))


def test_the_map_of_guards_names_every_guard_and_every_invariant_that_has_mutants() -> None:
    held = {id for id, *_ in (*MUTANTS, *UPCYCLED, *OF_PAIRS)} | {"I-11"}
    assert set(run.HOLDING) == held
    assert {guard for guards in run.HOLDING.values() for guard in guards} == {
        *run.AT_START, *run.AT_END, *run.AT_EXPORT,
    }  # fmt: skip
    assert run.names("I-15") == ["stages/guards/start.py: restored"]
