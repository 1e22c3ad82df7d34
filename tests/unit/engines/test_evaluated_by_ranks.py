"""A finished result of the NeMo engine is evaluated again by its ranks; any other in the process that is asked."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stages import engines
from stages.cluster import site
from stages.cluster.nemo import Nemo
from stages.cluster.slurm import Allocation
from stages.commands import evaluate
from stages.engines import evaluation, interpreter, launch, local, nodes, rank
from stages.engines.local import Exit
from stages.errors import UserError
from stages.export.result import Result
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from stages.store import manifest
from tests.unit.train import tiny

PROJECT = Project.load(Path(__file__).parents[3])
HOW = Parallel(tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=False, recompute="none")


def stage(engine: str, *names: str) -> Stage:
    found = tiny.make("next_token")
    execution = found.execution.model_copy(update={"engine": engine, "parallel": HOW if engine == "nemo" else None})
    asked = found.evaluation.model_copy(update={"names": names})
    return found.model_copy(update={"execution": execution, "evaluation": asked})


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(launch, "start", lambda *_, again: found.append(f"ranks, again {again}"))
    monkeypatch.setattr(evaluation, "again", lambda *_: found.append("here"))
    return found


@pytest.mark.parametrize(
    ("engine", "names", "by"),
    [
        ("nemo", ("validation_loss",), "ranks, again True"),
        ("nemo", (), "here"),  # something was dropped, and nothing is computed
        ("torch", ("validation_loss",), "here"),
    ],
)
def test_who_evaluates(engine: str, names: tuple[str, ...], by: str, called: list[str], tmp_path: Path) -> None:
    engines.evaluate(stage(engine, *names), tiny.inputs(tmp_path))
    assert called == [by]


@pytest.mark.parametrize(("words", "asked"), [((), "run"), ((launch.AGAIN,), "evaluate")])
def test_a_rank_is_told_what_to_do(
    words: tuple[str, ...], asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    for name in ("run", "evaluate"):
        monkeypatch.setattr(engines, name, lambda *given, name=name: found.append((name, *given)))
    one, inputs = stage("nemo", "validation_loss"), tiny.inputs(tmp_path)
    (tmp_path / "job").write_text(launch.write_job(one, inputs))
    assert rank.main(str(tmp_path / "job"), *words) == 0
    ((name, told, _),) = found
    assert (name, told) == (asked, one)


def test_a_rank_that_is_asked_for_something_else_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "evaluate"):
        monkeypatch.setattr(engines, name, lambda *_: pytest.fail("ran"))
    (tmp_path / "job").write_text(launch.write_job(stage("nemo"), tiny.inputs(tmp_path)))
    assert rank.main(str(tmp_path / "job"), launch.FOUND) == nodes.CRASHED
    assert "asked for --found" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "written"), [("0", True), ("1", False)])
def test_the_first_rank_writes_what_all_found(
    number: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", number)
    monkeypatch.setattr(engines, "found", lambda *_: {"validation": {"loss": 0.1 + 0.2}})
    job, path = tmp_path / "job", tmp_path / "found"
    job.write_text(launch.write_job(stage("nemo", "validation_loss"), tiny.inputs(tmp_path)))
    assert rank.main(str(job), launch.FOUND, str(path)) == 0
    assert path.exists() == written
    assert not written or json.loads(path.read_text()) == {"validation": {"loss": 0.1 + 0.2}}


def ranks(words: list[str], code: int) -> Exit:
    """Of the ranks' command, as the first of them would do it."""
    Path(words[-1]).write_text('{"validation": {"loss": 1.5}}')
    return Exit(0, "", code, "no such corpus")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, None),
        (1, "rank 0 of 1 failed .* no such corpus"),
        (-9, "killed by SIGKILL; run it again, and the evaluation begins again. It printed last: no such corpus"),
        (-15, "tiny/box: stopped before its evaluation had ended; run it again"),
    ],
)
def test_what_the_ranks_found_is_read_and_no_file_is_left(
    code: int, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, inputs = stage("nemo", "validation_loss"), tiny.inputs(tmp_path)
    monkeypatch.setattr(interpreter, "command", lambda *_: ["python"])
    monkeypatch.setattr(local, "run", lambda command, *_: ([ranks(command, code)], False))
    monkeypatch.setattr(site, "load", lambda _: SimpleNamespace(nemo=Nemo()))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        assert engines.found(one, inputs) == {"validation": {"loss": 1.5}}
    assert not list(inputs.layout.run(inputs.key).glob("ranks-*"))


@pytest.mark.parametrize(
    ("ref", "points_to", "trained"),
    [
        ("llama31_1m/cpt_256k", None, "llama31_1m/cpt_256k"),
        ("llama31_1m/instruct", None, "llama31_1m/sft_1m"),  # the same model, in a folder of its own
        ("ouro/keep_1_4b", "ouro/stable_1", "ouro/stable_1"),
        ("ouro/upcycle_2_6b", None, None),  # another model than was trained
        ("ouro/stable_2_2_6b", None, None),  # the torch engine's
        ("kimi_vl/vit_coca", None, None),
    ],
)
def test_by_whose_ranks_and_in_which_layout(
    ref: str, points_to: str | None, trained: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stages evaluate`: in the layout of whoever trained it, with the result's own evaluation and place."""
    stages = PROJECT.resolve(ref.partition("/")[0], "mini_nemo").stages
    specs = {f"{one.pipeline}/{one.name}": one for one in stages.values()}
    folder = points_to or ref
    monkeypatch.setattr(manifest, "pointed_to", lambda *_: [points_to] if points_to else [])
    result = cast(Result, SimpleNamespace(ref=ref, layout=None, stage=specs[folder]))
    found = evaluate.stage_of_ranks(result, specs, specs[trained or ref].phases, ("position_loss",))
    if trained is None:
        assert found is None
        return
    assert found is not None
    assert (found.execution, found.phases) == (specs[trained].execution, specs[trained].phases)
    assert f"{found.pipeline}/{found.name}" == folder
    asked = specs[folder].evaluation.model_copy(update={"names": ("position_loss",)})
    assert (found.evaluation, found.rope) == (asked, specs[folder].rope)


@pytest.mark.parametrize(
    ("advice", "said"),
    [
        (launch.TRAINING, "run again to resume from the last checkpoint"),
        (launch.EVALUATION, "run it again, and the evaluation begins again"),
    ],
)
def test_a_lost_node_is_answered_by_what_it_did(
    advice: launch.Advice, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "run", lambda *_: nodes.Ended([], [], False, True))
    monkeypatch.setattr(launch.slurm, "turn", lambda job: 0)
    with pytest.raises(UserError, match=rf"p/s: lost the ranks on n1 \(no answer\); {said}\."):
        launch.launch_on(["n1"], ["rank"], 2, 1, "p/s", Allocation("1", ("n1",), "n1"), advice=advice)


@pytest.mark.parametrize("code", [nodes.CRASHED, -6], ids=["in words", "aborted by NCCL"])
def test_a_lost_node_is_named_and_not_the_echo_of_its_ranks_on_another(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = nodes.Ended([Exit(0, "n1", code, "NCCL error")], [], False, True)
    monkeypatch.setattr(nodes, "run", lambda *_: ended)
    monkeypatch.setattr(launch.slurm, "turn", lambda job: 0)
    with pytest.raises(UserError, match=r"p/s: lost the ranks on n2 \(no answer\)"):
        launch.launch_on(["n1", "n2"], ["rank"], 2, 1, "p/s", Allocation("1", ("n1", "n2"), "n1"))


def test_a_layout_that_the_model_cannot_have_starts_no_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `run` refuses it, not Bridge's own error from a rank."""
    one = stage("nemo", "validation_loss")
    parallel = HOW.model_copy(update={"tp": 3})
    three = one.model_copy(update={"execution": one.execution.model_copy(update={"ranks": 3, "parallel": parallel})})
    monkeypatch.setattr(launch, "_start", lambda *_: pytest.fail("started"))
    for asked in (engines.found, engines.evaluate):
        with pytest.raises(UserError, match=r"found .*tp 3.*; allowed: .*Change the stage's spec or its scale"):
            asked(three, tiny.inputs(tmp_path))
