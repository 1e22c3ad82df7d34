"""A pipeline whose specs cannot be read is named, with exit code 1, and keeps no other pipeline from anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.check.run import run_all
from stages.commands.check import run_checks
from stages.commands.listing import print_list
from stages.commands.plan import print_plan
from stages.commands.run import run_stage
from stages.commands.status import print_status
from stages.commands.sync import run_sync
from stages.errors import InvalidSpecs, UserError
from stages.spec.project import Project
from stages.sync import graph, rules, saved_graph, workflow, write
from tests.mutants.mutant import ROOT
from tests.unit.spec.small_project import edit

Break = Callable[[Path], object]
BROKEN: dict[str, Break] = {
    "a file that is no YAML": lambda root: edit(root, "ouro/pipeline.yaml", "pipeline: ouro\n", "pipeline: ouro: {\n"),
    "a misspelt key of pipeline.yaml": lambda root: edit(root, "ouro/pipeline.yaml", "\nmodels:", "\nmodles:"),
    "a misspelt key of a stage": lambda root: edit(root, "ouro/warmup.yaml", "schedule: stable", "shedule: stable"),
    "a stage without a file": lambda root: (root / "specs/ouro/warmup.yaml").unlink(),
    "a pipeline.yaml that is a pipe": lambda root: (root / "specs/ouro/pipeline.yaml").unlink(),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped specs with their rules, which is also the working directory."""
    for name in ("specs", "rules", "stages/evals"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")  # no Slurm
    return tmp_path


@pytest.fixture(params=["a file that is no YAML", "a misspelt key of pipeline.yaml", "a stage without a file"])
def broken(request: pytest.FixtureRequest, folder: Path) -> Path:
    BROKEN[request.param](folder)
    return folder


@pytest.mark.parametrize("how", [name for name in BROKEN if "pipe" not in name.split()])
def test_check_names_it_and_checks_the_others(folder: Path, how: str) -> None:
    BROKEN[how](folder)
    edit(folder, "llama31_1m/cpt_512k.yaml", "document_mask: true", "document_mask: false")
    found = run_all(Project.load(folder))
    assert {one.id for one in found if one.stage.startswith("ouro")} == {"spec"}
    assert {one.id for one in found if one.stage.startswith("llama31_1m/")} == {"I-19"}
    assert not any(one.stage.startswith(("kimi_vl", "scales")) and not one.waived for one in found)


def test_a_pipe_in_the_place_of_its_file_is_one_finding(folder: Path) -> None:
    import os

    BROKEN["a pipeline.yaml that is a pipe"](folder)
    os.mkfifo(folder / "specs/ouro/pipeline.yaml")
    (one,) = {str(one.where) for one in run_all(Project.load(folder)) if one.id == "spec"}
    assert one == "specs/ouro/pipeline.yaml:1"


def test_a_reading_that_cannot_be_read_is_named_at_every_scale(folder: Path) -> None:
    """Its file says what it extends, and with that at which scales it is."""
    edit(folder, "ouro_seed003/pipeline.yaml", "extends: ouro", "extends: ouro: {")
    assert {one.id for one in run_all(Project.load(folder)) if not one.waived} == {"spec"}
    for scale in Project.load(folder).scales():
        assert set(graph.readable(folder, Project.load(folder), scale).unreadable) == {"ouro_seed003"}


def test_check_exits_with_1(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_checks(None, as_json=False) == 1
    assert "specs/ouro/" in capsys.readouterr().out


def test_status_shows_the_others_and_exits_with_1(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert print_status("mini", (), False, False, False) == 1
    text = capsys.readouterr().out
    assert "llama31_1m" in text
    assert "ouro: its specs cannot be read: specs/ouro/" in text
    assert print_status("mini", (), False, False, True) == 1
    told = {one["stage"]: one["state"] for one in json.loads(capsys.readouterr().out)}
    assert told["ouro"] == told["ouro_seed003"] == "unreadable"
    assert told["kimi_vl/vit_coca"] == "missing"
    assert print_status("mini", ("kimi_vl",), False, False, False) == 0


def test_asked_for_it_status_says_what_is_wrong(broken: Path) -> None:
    with pytest.raises(InvalidSpecs, match="specs/ouro/"):
        print_status("mini", ("ouro",), False, False, False)


def test_a_stage_of_another_pipeline_is_run(broken: Path) -> None:
    with pytest.raises(UserError, match="llama31_1m/cpt_256k needs its parents: llama31_1m/base is missing"):
        run_stage("llama31_1m/cpt_256k", "mini", None)
    with pytest.raises(InvalidSpecs, match="specs/ouro/"):
        run_stage("ouro/warmup", "mini", None)


@pytest.mark.parametrize("show", [
    lambda: print_list("mini", (), as_json=False), lambda: print_plan((), "mini", None, False, False),
])  # fmt: skip
def test_list_and_plan_show_the_others_first(
    broken: Path, capsys: pytest.CaptureFixture[str], show: Callable[[], None]
) -> None:
    with pytest.raises(InvalidSpecs, match="specs/ouro/"):
        show()
    assert "text_pretrain" in capsys.readouterr().out


def test_sync_writes_the_others_and_leaves_its_rules(broken: Path) -> None:
    (broken / "rules/kimi_vl.smk").write_text("")
    with pytest.raises(InvalidSpecs, match="specs/ouro/"):
        run_sync("mini", only_check=False)
    for name in ("rules/kimi_vl.smk", "rules/ouro.smk", "dvc.yaml"):
        assert (broken / name).read_text() == (ROOT / name).read_text()


def test_snakemake_leaves_it_out_says_so_and_is_not_done(
    broken: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(saved_graph.GRAPH, "graph.json")
    flow = workflow.open_main(broken, {}, quiet=False)
    said = capsys.readouterr().err
    assert "stages: ouro is left out, its specs cannot be read: specs/ouro/" in said
    assert "kimi_vl 6 stages (6 to run)" in said
    assert set(flow.absent) == {"ouro", "ouro_seed003"}
    assert not any(ref.startswith("ouro") for ref in flow.keys)
    repair = "Correct that, and start Snakemake again."
    assert [line.partition(":")[0] for line in workflow.unfinished(flow, {"all"})] == ["ouro", repair]
    assert [line.partition(":")[0] for line in workflow.unfinished(flow, {"variants"})] == ["ouro_seed003", repair]
    assert workflow.unfinished(flow, set()) == []


def test_asked_for_it_snakemake_says_what_is_wrong(
    broken: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(saved_graph.GRAPH, "graph.json")
    ended: list[int] = []

    def ends(code: int) -> None:
        ended.append(code)
        raise InterruptedError

    flow = workflow.open_main(broken, {}, quiet=True)
    monkeypatch.setattr(workflow.os, "_exit", ends)
    with pytest.raises(InterruptedError):
        flow.elsewhere("ouro")(None)
    assert ended == [1]
    assert "stages: specs/ouro/" in capsys.readouterr().err


def test_stages_of_a_pipeline_without_rules_are_known_by_the_rules_that_it_had(broken: Path) -> None:
    found = rules.names(broken, "ouro")
    assert found[:2] == ["ouro", "ouro__warmup"]
    assert len(found) == 1 + 18
    assert rules.names(broken, "new") == ["new"]


@pytest.mark.slow
def test_asked_for_one_of_its_stages_snakemake_says_what_is_wrong_and_no_more(broken: Path) -> None:
    for name in ("Snakefile", "profiles"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, broken / name)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "ouro__stable_1"]
    env = os.environ | {"PATH": os.defpath}
    done = subprocess.run(command, cwd=broken, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("stages: specs/ouro/")
    assert "MissingRule" not in done.stderr


def test_what_is_wrong_at_another_scale_keeps_nothing_from_this_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joint pre-training has a waiver, for which every scale is looked at."""
    from stages.check.gate import Gate

    edit(folder, "scales/small.yaml", "  kimi_vl:\n", "  kimi_vl:\n    contxt: 1/2\n")
    project = Project.load(folder)
    assert set(graph.readable(folder, project, "small").unreadable) == {"kimi_vl", "kimi_vl_seed004"}
    Gate(project, "mini", graph.readable(folder, project, "mini").stages).refuse("kimi_vl/joint_pretrain")


def test_a_broken_scale_stops_no_other_scale(folder: Path) -> None:
    edit(folder, "scales/small.yaml", "scale: small", "scale: small: {")
    project = Project.load(folder)
    assert graph.readable(folder, project, "mini").unreadable == {}
    assert project.scales_of("kimi_vl") == [name for name in project.scales() if name != "small"]
    found = [one for one in run_all(project) if not one.waived]
    assert {(one.id, one.scale, one.where.file) for one in found if one.where} == {
        ("spec", "small", "specs/scales/small.yaml")
    }


def test_what_a_broken_pipeline_may_name_is_not_unknown_in_a_scale(folder: Path) -> None:
    """An entry for a stage that only a variant has: while that cannot be read, the entry is no mistake."""
    edit(folder, "scales/mini.yaml", "epochs: {vit_coca: 2}", "epochs: {vit_coca: 2, third: 2}")
    edit(folder, "kimi_vl_seed004/pipeline.yaml", "extends: kimi_vl", "extends: kimi_vl: {")
    assert set(graph.readable(folder, Project.load(folder), "mini").unreadable) == {"kimi_vl_seed004"}


def test_its_rules_are_not_taken_for_those_of_a_pipeline_that_is_gone(broken: Path) -> None:
    project = Project.load(broken)
    texts = write.wanted(project, graph.readable(broken, project, "mini"))
    assert texts["rules/ouro.smk"] is texts["dvc.yaml"] is None
    assert write.unsynced(broken, texts) == []
