import pytest

from stages.contract import ledger
from stages.contract.ledger import Step
from tests.unit.contract._make import phase


def test_an_even_budget() -> None:
    even = phase(budget=32, context=8, batch=((0, 2),))
    assert list(ledger.steps(even)) == [Step(0, 0, 16, 0, 2, 0), Step(1, 16, 32, 2, 2, 0)]


def test_the_last_step_takes_what_is_left() -> None:
    # 16 a step, 43 in all: the third step has two sequences, of which the last is cut to 3 positions.
    uneven = phase(budget=43, context=8, batch=((0, 2),))
    assert list(ledger.steps(uneven))[-1] == Step(2, 32, 43, 4, 2, 3)
    assert ledger.count(uneven) == 3
    assert ledger.samples(uneven) == 6


def test_a_last_step_of_whole_sequences_has_no_tail() -> None:
    assert list(ledger.steps(phase(budget=40, context=8, batch=((0, 2),))))[-1] == Step(2, 32, 40, 4, 1, 0)


def test_a_budget_below_one_step() -> None:
    assert list(ledger.steps(phase(budget=5, context=8, batch=((0, 2),)))) == [Step(0, 0, 5, 0, 1, 5)]


def test_the_batch_grows_at_the_first_border_at_or_past_its_threshold() -> None:
    ramp = phase(budget=100, context=8, batch=((0, 1), (20, 2)))
    assert [(step.start, step.sequences) for step in ledger.steps(ramp)] == [
        (0, 1), (8, 1), (16, 1), (24, 2), (40, 2), (56, 2), (72, 2), (88, 2),
    ]  # fmt: skip


def test_a_rung_that_one_step_jumps_over_is_skipped() -> None:
    ramp = phase(budget=200, context=8, batch=((0, 4), (10, 6), (30, 8)))
    assert [step.sequences for step in ledger.steps(ramp)] == [4, 8, 8, 5]


def test_a_threshold_that_is_met_exactly_ends_its_rung_also_where_less_than_a_step_is_left() -> None:
    falling = phase(budget=48, context=8, batch=((0, 4), (32, 1)))
    assert [(step.start, step.sequences) for step in ledger.steps(falling)] == [(0, 4), (32, 1), (40, 1)]


def test_moonlight_has_149_thousand_steps() -> None:
    # arXiv 2502.16982, section 3.3: 2,048 sequences of 8K to 200B tokens, 4,096 after, 5.2T in all.
    text = phase(budget=5_200_000_000_000, context=8192, batch=((0, 2048), (200_000_000_000, 4096)))
    assert ledger.count(text) == 11_921 + 149_012
    assert ledger.step_at(text, 200_000_000_000).sequences == 2048
    assert ledger.step_at(text, 202_000_000_000).sequences == 4096
    assert ledger.step_at(text, 5_199_999_999_999).index == 160_932


@pytest.mark.timeout(60)
def test_more_steps_than_can_be_walked_over_take_no_longer() -> None:
    """It is a closed form: a walk over these steps, or over any share of them, would take years."""
    endless = phase(budget=10**21, context=8192, batch=((0, 2048), (10**20, 4096)))
    assert ledger.count(endless) == 10**20 // (2048 * 8192) + 1 + (9 * 10**20 - 2048 * 8192) // (4096 * 8192) + 1
    assert ledger.step_at(endless, 10**20 - 1).sequences == 2048
    assert ledger.step_at(endless, 10**21 - 1).index == ledger.count(endless) - 1


@pytest.mark.parametrize("consumed", [-1, 100])
def test_no_step_outside_the_budget(consumed: int) -> None:
    with pytest.raises(ValueError, match="no step at"):
        ledger.step_at(phase(budget=100), consumed)


def test_a_step_is_found_by_its_number_in_the_phase_and_in_the_stage() -> None:
    ramp, short = phase(budget=43, context=8, batch=((0, 1), (20, 2))), phase(budget=16, context=8, batch=((0, 2),))
    every = list(ledger.steps(ramp))
    assert [ledger.step_number(ramp, one.index) for one in every] == every
    assert [ledger.step_of((ramp, short), number) for number in range(1, len(every) + 2)] == [
        *((0, one) for one in every), (1, *ledger.steps(short)),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=f"no step {len(every)}; it has {len(every)}"):
        ledger.step_number(ramp, len(every))
    with pytest.raises(ValueError, match=f"no step {len(every) + 2}; there are {len(every) + 1}"):
        ledger.step_of((ramp, short), len(every) + 2)
