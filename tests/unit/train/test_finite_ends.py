"""A stage whose end is not finite is not done: weights, optimizer state, evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import results, run, training
from stages.spec.resolved import Stage
from stages.spec.resolved_training import Piece, Schedule
from stages.store import attempts, done
from stages.train import finite, loop, replicated
from stages.train.stopping import NonFiniteError
from tests.edits import replaced
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")
KEY, REF = "a" * 32, "tiny/box"


def jump_at_the_end(stage: Stage, rate: float) -> Stage:
    """The stage with a declared rate of `rate` at its last step alone."""
    end = sum(phase.budget for phase in stage.phases)
    last = end - tiny.CONTEXT - tiny.CONTEXT // 2
    flat = Piece(start=0, end=last, shape="constant", first=0.01, last=0.01, p0=(0, 1), p1=(1, 1))
    jump = Piece(start=last, end=end, shape="constant", first=rate, last=rate, p0=(0, 1), p1=(1, 1))
    return stage.model_copy(update={"schedule": Schedule(name="jump", pieces=(flat, jump))})


def judged(root: Path) -> done.Verdict:
    return done.is_done(tiny.inputs(root).layout, REF, KEY, {}, deep=True)


def test_a_last_update_that_overflows_is_seen_and_the_checkpoint_before_it_is_kept(tmp_path: Path) -> None:
    stage = jump_at_the_end(tiny.make("next_token"), 1.9e38)
    stage = stage.model_copy(update={"optimizer": tiny.ADAMW.model_copy(update={"weight_decay": 1.7})})
    with pytest.raises(NonFiniteError, match=r"the update of step 8 overflowed: .* among them llm\.") as caught:
        run(stage, tiny.inputs(tmp_path))
    assert "lower the learning rate, which is 1.9e+38 at this step" in str(caught.value)
    assert not (tmp_path / "results/mini/tiny/box").exists()
    verdict = judged(tmp_path)
    assert (verdict.state, verdict.step, verdict.repeats) == ("failed", 8, True)
    assert verdict.partial is not None
    assert verdict.partial.name == "partial-000000006"
    assert "lower the learning rate" in verdict.why


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1e30, r"of the weights which step 8 left, \d+ tensors are too large to be squared, among them llm\."),
        (1e18, r"under the weights which step 8 left, the loss is nan"),
    ],
)
def test_weights_that_are_finite_and_of_no_use_are_no_result(rate: float, said: str, tmp_path: Path) -> None:
    """The stage is evaluated by nothing, so that nothing else would compute with them."""
    stage = jump_at_the_end(tiny.make("next_token"), rate)
    with pytest.raises(NonFiniteError, match=said) as caught:
        run(stage, tiny.inputs(tmp_path))
    assert "lower the learning rate at the end of schedule 'jump'" in str(caught.value)
    assert not (tmp_path / "results/mini/tiny/box").exists()
    assert (judged(tmp_path).state, judged(tmp_path).repeats) == ("failed", True)


@pytest.mark.parametrize("objective", [*tiny.OBJECTIVES, "moe"])
def test_the_last_pass_changes_nothing_and_counts_no_read(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny.make(objective), tiny.inputs(tmp_path / "with"))
    monkeypatch.setattr(training.last_pass, "check", lambda *_: None)
    run(tiny.make(objective), tiny.inputs(tmp_path / "without"))
    one, other = (
        (tmp_path / name / "results/mini/tiny/box/manifest.json").read_bytes() for name in ("with", "without")
    )
    assert one == other


def test_the_largest_weight_that_can_be_squared() -> None:
    tensors = {
        "a": torch.tensor([1.8e19, -1.0]),
        "b": torch.tensor([1.0, -1.9e19]),
        "n": torch.tensor(3),
        "e": torch.ones(0),
    }
    assert finite.too_large(tensors) == ["b"]
    assert finite.too_large({}) == []


def test_an_update_that_overflows_never_reaches_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop.train_step

    def overflowing(run_: Any, phase: Any, stepper: Any, at: Any, counters: Any, lr: float) -> Any:
        found = step(run_, phase, stepper, at, counters, lr)
        if counters.steps + 1 == 6:  # where a checkpoint is due; its loss was finite
            with torch.no_grad():
                stepper.optimizer.parameters[0].view(-1)[0] = math.inf
        return found

    monkeypatch.setattr(loop, "train_step", overflowing)
    with pytest.raises(NonFiniteError, match=r"step 6 overflowed: 1 tensors are not finite.*partial-000000003"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))
    (attempt,) = (tmp_path / "results/.runs" / KEY).glob("attempt-*")
    assert [path.name for path in attempt.glob("partial-*")] == ["partial-000000003"]


def test_a_moment_that_overflows_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second moment of infinity moves its weights never again, and no loss says so."""
    step = loop.train_step

    def overflowing(run_: Any, phase: Any, stepper: Any, *rest: Any) -> Any:
        found = step(run_, phase, stepper, *rest)
        stepper.optimizer.state()["llm.lm_head.weight.exp_avg_sq"].fill_(math.inf)
        return found

    monkeypatch.setattr(loop, "train_step", overflowing)
    with pytest.raises(NonFiniteError, match=r"among them llm\.lm_head\.weight\.exp_avg_sq"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_evaluation_that_is_not_finite_ends_the_stage_without_a_result(
    when: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(["before", "after"])

    def evaluated(*_: Any, **__: Any) -> Mapping[str, Any]:
        return {"validation": {"loss": value if next(calls) == when else 2.5, "buckets": [{"loss": 1.0}]}}

    monkeypatch.setattr(training.evals, "run", evaluated)
    with pytest.raises(NonFiniteError, match=rf"evaluated {when} training: validation\.loss is {value}"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))
    assert judged(tmp_path).state == "failed"
    (attempt,) = (tmp_path / "results/.runs" / KEY).glob("attempt-*")
    found = attempts.finding(attempt)
    assert found is not None
    assert found.repeats
    written = b"".join(path.read_bytes() for path in (tmp_path / "results").rglob("*.json"))
    assert b"NaN" not in replaced(written, b"evaluated", b"")
    assert not list((tmp_path / "results").rglob("eval.json"))


def test_other_measures_of_a_step_must_be_finite_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gather = replicated.gather

    def spoilt(*given: Any) -> Any:
        gradients, values = gather(*given)
        return gradients, [values[0], torch.tensor(math.nan), *values[2:]]

    monkeypatch.setattr(replicated, "gather", spoilt)
    with pytest.raises(NonFiniteError, match=r"step 1 .*but \w+ is nan. Nothing was updated"):
        run(tiny.make("looped"), tiny.inputs(tmp_path))


def test_names_of_what_is_not_finite() -> None:
    good, bad = torch.ones(3), torch.tensor([1.0, -math.inf])
    assert finite.broken_tensors({"a": good, "b": bad, "steps": torch.tensor(7), "none": torch.zeros(0)}) == ["b"]
    assert finite.broken_tensors({"steps": torch.tensor(7)}) == []
    tree = {"a": {"b": [1.0, math.nan]}, "c": "nan", "d": None, "e": 3}
    assert list(finite.broken_numbers(tree)) == ["a.b.1 is nan"]
    assert finite.first_names(list("abcdef")) == "a, b, c, d and 2 more"


def test_an_evaluation_of_nothing_says_that_rows_are_cut_where_they_are() -> None:
    """The mean of no answer is no number: conversations that are longer than a row are left out."""
    stage, nothing = tiny.make("next_token"), {"answers": {"loss": math.nan}}
    with pytest.raises(NonFiniteError, match=r"too little is there to evaluate on\.$"):
        results.check_evaluations(stage, nothing, "before training", 0)
    cut = stage.model_copy(update={"evaluation": stage.evaluation.model_copy(update={"context": 8})})
    with pytest.raises(NonFiniteError, match=r"or evaluate longer rows than the 8 tokens of `evaluation`\.$"):
        results.check_evaluations(cut, nothing, "before training", 0)
