"""Whole stages with evaluations in Megatron's own model: as the torch engine records them, killed, evaluated again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import Inputs, training
from stages.evals.heldout import Heldout
from stages.spec.resolved import Stage
from stages.store import attempts
from tests.nemo import engines
from tests.nemo import evaluated_case as case
from tests.nemo.engines import layout
from tests.nemo.evaluated_case import STAGES, apart, wanted
from tests.nemo.ranks import RankError
from tests.unit.evals.conftest import build
from tests.unit.train import tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared corpora."""
    return build(tmp_path_factory.mktemp("corpora"))


def in_a_stage(stage: Stage, root: Path, folder: Path, disturb: Callable[[], None] = lambda: None) -> Inputs:
    """The whole stage on the engine, with evaluations before and after on the corpora of `root`."""

    def reading() -> None:
        training.Heldout = lambda _: Heldout(root)  # type: ignore[misc, assignment]
        disturb()

    given = tiny.inputs(folder)
    engines.run(engines.on_nemo(stage, layout(2, pp=2)), given, reading)
    return given


def recorded(given: Inputs, name: str = "eval.json") -> Any:
    return json.loads((given.layout.stage("tiny/box") / name).read_text())


def test_a_stage_records_what_the_torch_engine_records(root: Path, tmp_path: Path) -> None:
    """Before training up to roundings; after it as far as training agrees."""
    from stages.engines import torch_engine

    found, given = in_a_stage(STAGES["llama"], root, tmp_path / "nemo"), tiny.inputs(tmp_path / "torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        patch.setattr(training, "Heldout", lambda _: Heldout(root))
        torch_engine.run(STAGES["llama"], given)
    ours, theirs = recorded(found), recorded(given)
    assert apart(case.leaves(ours["before"]), case.leaves(theirs["before"])) <= wanted("llama", root)[1]
    assert apart(case.leaves(ours["after"]), case.leaves(theirs["after"])) < 1e-4
    assert ours["after"] != ours["before"]
    assert recorded(found, "evaluation.json") == recorded(given, "evaluation.json")


def _other_rows() -> None:
    import os

    from stages.evals import heldout

    if os.environ["RANK"] == "1":
        rows = heldout.Heldout.rows
        heldout.Heldout.rows = lambda *given: rows(*given)[1:]  # type: ignore[method-assign]


def test_ranks_that_read_other_rows_are_told(root: Path, tmp_path: Path) -> None:
    """A node whose copy of the corpora is another one."""
    with pytest.raises(RankError, match="evaluations: rank 1 reads other held-out rows than the first rank"):
        in_a_stage(STAGES["llama"], root, tmp_path, _other_rows)


def _spoilt() -> None:
    import os

    from stages.engines.nemo.trainer import NemoTrainer

    trained = NemoTrainer.trained

    def spoiling(self: NemoTrainer) -> Any:
        found = trained(self)
        if os.environ["RANK"] == "1":
            with torch.no_grad():
                next(iter(self._chunks[0].parameters())).fill_(torch.nan)
        return found

    NemoTrainer.trained = spoiling  # type: ignore[method-assign]


def test_what_is_not_finite_on_one_rank_ends_the_stage_on_all_without_a_result(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RankError) as told:
        in_a_stage(STAGES["llama"], root, tmp_path, _spoilt)
    assert str(told.value).count("under the weights which step 2 left, the loss is nan") == 2
    given = tiny.inputs(tmp_path)
    assert not given.layout.stage("tiny/box").exists()
    (attempt,) = attempts.folders(given.layout, given.key)
    assert attempts.finding(attempt) is not None


def _dying(rank: int, place: str, count: int) -> Callable[[], None]:
    """SIGKILL for a rank at its `count`-th round of forward passes, before training or after it."""

    def disturb() -> None:
        import os
        import signal

        from stages.engines.nemo.divided import Divided
        from stages.engines.training import Training

        evaluate, passes, calls = getattr(Training, place), Divided._passes, iter(range(1, 1_000))

        def deadly(*given: Any, **named: Any) -> Any:
            if next(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return passes(*given, **named)

        def evaluated(*given: Any) -> Any:
            Divided._passes = deadly  # type: ignore[method-assign]
            try:
                return evaluate(*given)
            finally:
                Divided._passes = passes  # type: ignore[method-assign]

        if os.environ["RANK"] == str(rank):
            setattr(Training, place, evaluated)

    return disturb


def _never_before() -> None:
    from stages.engines import evaluation

    def refused(*_: Any) -> Any:
        raise AssertionError("evaluated again")

    evaluation.before = refused  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("rank", "place", "again"), [(1, "_evaluate_before", lambda: None), (0, "_evaluate_after", _never_before)]
)
def test_a_stage_that_is_killed_while_it_is_evaluated_comes_to_the_same_result(
    rank: int, place: str, again: Callable[[], None], root: Path, tmp_path: Path
) -> None:
    """What was found before training is kept, and what was trained is not trained again."""
    with pytest.raises(RankError, match=rf"rank {rank}: ended without a word"):
        in_a_stage(STAGES["llama"], root, tmp_path / "killed", _dying(rank, place, 3))
    given = tiny.inputs(tmp_path / "killed")
    assert not given.layout.stage("tiny/box").exists()
    found, undisturbed = (
        in_a_stage(STAGES["llama"], root, tmp_path / name, disturb)
        for name, disturb in (("killed", again), ("whole", lambda: None))
    )
    assert recorded(found) == recorded(undisturbed)
    assert all(
        torch.equal(one, engines.left(undisturbed).weights[name]) for name, one in engines.left(found).weights.items()
    )


def _again(stage: Stage, given: Inputs, root: Path) -> None:
    from stages.engines import evaluation
    from stages.engines.nemo import engine

    engine.Heldout = evaluation.Heldout = lambda _: Heldout(root)  # type: ignore[misc, assignment]
    engine.evaluate(stage, given)


def _found(stage: Stage, given: Inputs, root: Path) -> Any:
    """As `stages evaluate` asks, where nothing is left of what the stage was made from."""
    from stages.engines.nemo import engine, receiving

    def refused(*_: Any) -> Any:
        raise AssertionError("read what the stage was made from")

    receiving.weights = refused  # type: ignore[assignment]
    engine.Heldout = lambda _: Heldout(root)  # type: ignore[misc, assignment]
    return engine.found(stage, given)


def test_a_finished_result_is_evaluated_again_by_its_ranks(root: Path, tmp_path: Path) -> None:
    """What is asked for later is what it would have been at once, before training and after it, to the last bit."""
    stage = STAGES["llama"]
    asked = stage.evaluation
    fewer = stage.model_copy(update={"evaluation": asked.model_copy(update={"names": ("position_loss", "answers")})})
    found, at_once = in_a_stage(fewer, root, tmp_path / "later"), in_a_stage(stage, root, tmp_path / "at once")
    assert recorded(found) != recorded(at_once)
    weights = engines.left(found).weights
    ranked = engines.on_nemo(stage, layout(2, pp=2))
    engines.call(2, _again, ranked, found, root)
    assert recorded(found) == recorded(at_once)
    assert engines.call(2, _found, ranked, found, root) == [recorded(at_once)["after"]] * 2
    assert recorded(found, "evaluation.json") == recorded(at_once, "evaluation.json")
    assert all(torch.equal(one, weights[name]) for name, one in engines.left(found).weights.items())
