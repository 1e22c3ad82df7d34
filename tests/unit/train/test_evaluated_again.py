"""A finished result evaluated where it lacks numbers: those that were added, and no bit of it moved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages import engines
from stages.engines import Inputs
from stages.spec.key import phase_keys
from stages.spec.resolved import Stage
from stages.store import done, evaluated, evaluated_by, json_file, manifest, reevaluation, revise, stage_record
from stages.store.layout import Layout
from stages.sync import verdicts
from tests.faults import cases, whole
from tests.faults.cases import Case
from tests.unit.data.small import Small, build


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("small"))


def asking(stage: Stage, *names: str) -> Stage:
    return stage.model_copy(update={"evaluation": stage.evaluation.model_copy(update={"names": names})})


def evaluate(case: Case, root: Path) -> None:
    layout, stage = Layout(root, cases.SCALE), case.stage
    above = {parent: case.keys[parent] for parent in stage.parents}
    chained = phase_keys(stage, above)
    engines.evaluate(stage, Inputs(layout, case.key, chained, manifest.parents(layout, above), layout.data, {}))


@pytest.mark.parametrize("name", ["next_token", "looped", "moe", "joint", "continued", "upcycle"])
def test_what_was_added_alone_is_computed_and_stands_beside_the_rest(
    name: str, tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases.make(name, small)
    case = replace(
        case,
        stage=asking(case.stage, "validation_loss"),
        parents=tuple(asking(parent, "validation_loss") for parent in case.parents),
    )
    cases.lay(case, tmp_path, small, lambda one: whole.run(one, tmp_path))
    whole.run(case, tmp_path)
    folder = Layout(tmp_path, cases.SCALE).stage(case.ref)
    first, record = json.loads((folder / "eval.json").read_bytes()), (folder / "manifest.json").read_bytes()
    assert evaluated.outdated(folder, case.stage) == ""

    more = replace(case, stage=asking(case.stage, "validation_loss", "position_loss"))
    assert evaluated.outdated(folder, more.stage) == "evaluate: position_loss added"
    computed, run = set(), engines.evaluation.evals.run
    monkeypatch.setattr(
        engines.evaluation.evals, "run",
        lambda modules, stage, *words, **more: computed.update(stage.evaluation.names) or run(
            modules, stage, *words, **more),
    )  # fmt: skip
    evaluate(more, tmp_path)
    assert computed == {"position_loss"}

    then = json.loads((folder / "eval.json").read_bytes())
    assert {side: found["validation"] for side, found in then.items()} == {
        side: found["validation"] for side, found in first.items()
    }
    assert "positions" in then["after"]
    assert "positions" in then["before"] or not case.stage.phases, "of a box without training, it is the parent's word"
    assert (folder / "manifest.json").read_bytes() == record
    assert evaluated.outdated(folder, more.stage) == ""
    assert stage_record.read(folder) == more.stage
    above = {parent: case.keys[parent] for parent in case.stage.parents}
    assert done.is_done(Layout(tmp_path, cases.SCALE), case.ref, case.key, above, deep=True).done

    computed.clear()
    evaluate(case, tmp_path)
    assert not computed, "what is dropped costs nothing"
    assert json.loads((folder / "eval.json").read_bytes()) == first


def test_all_is_computed_again_where_the_code_is_another(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases.make("next_token", small)
    case = replace(case, stage=asking(case.stage, "validation_loss"))
    cases.lay(case, tmp_path, small, lambda one: None)
    whole.run(case, tmp_path)
    folder = Layout(tmp_path, cases.SCALE).stage(case.ref)
    first = json.loads((folder / "eval.json").read_bytes())
    wrong = {side: {"validation": {**found["validation"], "loss": 0.5}} for side, found in first.items()}
    revise.replace(Layout(tmp_path, cases.SCALE), case.ref, case.key, {"eval.json": json_file.encode(wrong)})
    evaluate(case, tmp_path)
    assert json.loads((folder / "eval.json").read_bytes()) == wrong, "nothing is asked for that it has not"
    monkeypatch.setattr(evaluated_by, "code", lambda: "0" * 16)
    evaluate(case, tmp_path)
    assert json.loads((folder / "eval.json").read_bytes()) == first


def test_a_failing_evaluation_leaves_the_result_as_it_was(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases.make("next_token", small)
    cases.lay(case, tmp_path, small, lambda one: None)
    whole.run(case, tmp_path)
    folder = Layout(tmp_path, cases.SCALE).stage(case.ref)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(engines.evaluation.evals, "run", lambda *words, **more: {"validation": {"loss": float("nan")}})
    asked = asking(case.stage, "validation_loss")
    with pytest.raises(engines.evaluation.results.NonFiniteError, match="Nothing is trained here") as caught:
        evaluate(replace(case, stage=asked), tmp_path)
    assert "checkpoint" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_failed_evaluation_is_told_until_it_succeeds_or_something_else_is_asked(
    tmp_path: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases.make("next_token", small)
    cases.lay(case, tmp_path, small, lambda one: None)
    whole.run(case, tmp_path)
    layout, asked = Layout(tmp_path, cases.SCALE), asking(case.stage, "validation_loss")
    assert (judged(layout, case, asked).state, judged(layout, case, asked).why) == (
        "unevaluated", "evaluate: validation_loss added",
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(engines.evaluation.evals, "run", lambda *words, **more: {"validation": {"loss": float("nan")}})
        with pytest.raises(engines.evaluation.results.NonFiniteError):
            evaluate(replace(case, stage=asked), tmp_path)
    failed = judged(layout, case, asked)
    assert (failed.state, failed.repeats) == ("failed", True)
    assert "its result is whole, and could not be evaluated again (evaluate: validation_loss added): " in failed.why
    assert "validation.loss is nan" in failed.why
    assert judged(layout, case, asking(case.stage, "position_loss")).state == "unevaluated"
    assert judged(layout, case, case.stage).state == "done"
    evaluate(replace(case, stage=asked), tmp_path)
    assert judged(layout, case, asked).state == "done"
    assert not (layout.run(case.key) / reevaluation.NAME).exists()


def judged(layout: Layout, case: Case, stage: Stage) -> done.Verdict:
    return verdicts.judge(layout, {case.ref: stage}, {case.ref: case.key})[case.ref]
