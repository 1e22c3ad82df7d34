"""Rules and dvc.yaml hold the specs' edges, no numbers and no keys; Snakemake and DVC agree on what is to be run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.errors import UsageError
from stages.spec.project import Project
from stages.sync import graph, rules, workflow, write

ROOT = Path(__file__).resolve().parents[3]
FAKE = Path(__file__).parent / "fake"


@pytest.fixture(scope="module")
def loaded() -> graph.Graph:
    return graph.load(ROOT, Project.load(ROOT), "mini")


def test_what_is_committed_is_what_the_specs_say(loaded: graph.Graph) -> None:
    assert write.unsynced(ROOT, write.wanted(ROOT, Project.load(ROOT), loaded)) == []


def test_there_is_one_rule_per_box_and_per_corpus(loaded: graph.Graph) -> None:
    text = "".join(rules.files(loaded).values())
    for ref in loaded.stages:
        assert text.count(f"use rule stage as {graph.rule_name(ref)} with:") == 1
    for name in loaded.corpora:
        assert text.count(f"use rule corpus as data__{name} with:") == 1


def test_rules_hold_no_keys(loaded: graph.Graph) -> None:
    text = "".join(rules.files(loaded).values())
    assert not [key for key in loaded.keys.values() if key in text or key[:8] in text]


def test_dvc_edges_are_the_specs_edges(loaded: graph.Graph) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for ref, stage in loaded.published.items():
        deps = stages[graph.rule_name(ref)].get("deps", [])
        parents = [dep.split("/", 2)[2].removesuffix("/manifest.json") for dep in deps if "/data/" not in dep]
        assert parents == list(stage.parents)


def test_every_dvc_out_persists_and_every_command_names_one_rule() -> None:
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        assert [options for out in stage["outs"] for options in out.values()] == [{"persist": True}]
        assert stage["cmd"].endswith(f"--allowed-rules {name} --config scale=mini -- {name}")


def test_an_unknown_config_key_is_refused() -> None:
    with pytest.raises(UsageError, match=r"found sclae; allowed: scale, releases"):
        workflow.read_config(ROOT, {"sclae": "mini"})


def test_an_unknown_scale_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"found 'tiny'; allowed: .*mini"):
        workflow.read_config(ROOT, {"scale": "tiny"})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Snakefile", ".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("specs", "rules", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def call(project: Path, *words: str, code: int = 0) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = {
        "PATH": path,
        "PYTHONPATH": f"{ROOT}:{FAKE}",
        "TRAINED": str(project / "trained"),
        "XDG_CACHE_HOME": str(project / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=project,
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def trained(project: Path) -> list[str]:
    path = project / "trained"
    return path.read_text().split() if path.exists() else []


def test_snakemake_ends_with_code_two_on_an_unknown_config_key(project: Path) -> None:
    said = call(project, "snakemake", "-n", "--config", "sclae=mini", code=2)
    assert "--config: found sclae; allowed: scale, releases." in said
    assert "Traceback" not in said


def test_snakemake_refuses_to_start_when_the_rules_are_not_what_the_specs_say(project: Path) -> None:
    with (project / "rules" / "ouro.smk").open("a") as file:
        file.write("# edited by hand\n")
    assert "rules/ouro.smk: not what the specs say. Run `stages sync`." in call(project, "snakemake", "-n", code=1)


@pytest.mark.slow
def test_snakemake_and_dvc_agree_before_and_after_an_edit_and_going_back(project: Path) -> None:
    subprocess.run(["git", "init", "-q", project], check=True)
    call(project, "snakemake", "ouro")
    ran = trained(project)
    assert sorted(ran) == sorted(set(ran))
    assert "ouro/warmup" in ran
    assert "Nothing to be done" in call(project, "snakemake", "-n", "ouro")

    spec = project / "specs" / "ouro" / "reasoning_sft_1_4b.yaml"
    before = spec.read_text()
    spec.write_text(before.replace("epochs: ", "epochs: 1", 1))
    said = call(project, "snakemake", "-n", "ouro")
    assert "ouro__reasoning_sft_1_4b" in said
    assert "ouro__thinking_1_4b" in said
    assert "ouro__midtrain_1_4b" not in said
    call(project, "snakemake", "ouro")
    assert sorted(trained(project)[len(ran) :]) == ["ouro/reasoning_sft_1_4b", "ouro/thinking_1_4b"]

    spec.write_text(before)
    count = len(trained(project))
    call(project, "snakemake", "ouro")
    assert len(trained(project)) == count  # both results were put back


@pytest.mark.slow
def test_a_failed_stage_is_told_and_the_other_branch_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_STAGE", "ouro/upcycle_2_6b")
    said = call(project, "snakemake", "ouro", code=1)
    assert "ouro/thinking_1_4b" in trained(project)
    assert "FAILED" in said
    assert "as the test asked" in said
