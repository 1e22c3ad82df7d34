"""Rules and dvc.yaml hold the specs' edges, no numbers and no keys; Snakemake and DVC agree on what is to be run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.errors import UsageError, UserError
from stages.spec.project import Project
from stages.sync import config, graph, rules, write
from tests.edits import edit, replaced

ROOT = Path(__file__).resolve().parents[3]
FAKE = Path(__file__).parent / "fake"


@pytest.fixture(scope="module")
def loaded() -> graph.Graph:
    return graph.load(ROOT, Project.load(ROOT), "mini")


def test_what_is_committed_is_what_the_specs_say(loaded: graph.Graph) -> None:
    assert write.unsynced(ROOT, write.wanted(Project.load(ROOT), loaded)) == []


def test_there_is_one_rule_per_stage_and_per_corpus(loaded: graph.Graph) -> None:
    text = "".join(rules.files(loaded).values())
    for ref in loaded.stages:
        assert text.count(f"use rule stage as {graph.rule_name(ref)} with:") == 1
    for name in loaded.corpora:
        assert text.count(f"use rule corpus as data__{name} with:") == 1
    for name in (*loaded.stages, *loaded.corpora):
        assert text.count(f'        **job_resources("{name}"),\n') == 1


def test_rules_hold_no_keys(loaded: graph.Graph) -> None:
    text = "".join(rules.files(loaded).values())
    assert not [key for key in loaded.keys.values() if key in text or key[:8] in text]


def test_dvc_edges_are_the_specs_edges(loaded: graph.Graph) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for ref, stage in loaded.published.items():
        deps = stages[graph.rule_name(ref)].get("deps", [])
        results = [dep for dep in deps if dep.startswith("results/") and "/data/" not in dep]
        assert [dep.split("/", 2)[2].removesuffix("/manifest.json") for dep in results] == list(stage.parents)
        code = ["stages/evals"] if stage.evaluation.names else []
        assert [dep for dep in deps if not dep.startswith("results/")] == code, "what evaluates it, and no other code"


def test_every_dvc_out_persists_and_every_command_names_one_rule() -> None:
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        assert [options for out in stage["outs"] for options in out.values()] == [{"persist": True}]
        assert stage["cmd"].endswith(f"--allowed-rules {name} --config scale=mini deep={name} -- {name}")


def test_an_unknown_config_key_is_refused() -> None:
    with pytest.raises(UsageError, match=r"found sclae; allowed: scale, releases, deep"):
        config.read_config(ROOT, {"sclae": "mini"})


def test_an_unknown_scale_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found 'tiny'; allowed: .*mini"):
        config.read_config(ROOT, {"scale": "tiny"})
    with pytest.raises(UsageError, match=r"Did you mean 'mini'\?"):
        config.read_config(ROOT, {"scale": "min"})
    (tmp_path / "specs/scales").mkdir(parents=True)
    for name in ("laptop", "small"):
        (tmp_path / f"specs/scales/{name}.yaml").touch()
    with pytest.raises(
        UsageError, match=r"allowed: laptop, small\. Without it, mini is meant: add `--config scale=laptop`\."
    ):
        config.read_config(tmp_path, {})


def test_without_a_scale_the_only_one_is_meant(tmp_path: Path) -> None:
    (tmp_path / "specs/scales").mkdir(parents=True)
    (tmp_path / "specs/scales/laptop.yaml").touch()
    assert config.read_config(tmp_path, {}) == ("laptop", None)
    (tmp_path / "specs/scales/mini.yaml").touch()
    assert config.read_config(tmp_path, {}) == ("mini", None)


def test_without_any_scale_the_file_to_write_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"specs/scales: no scale is there; .*mini\.yaml"):
        config.read_config(tmp_path, {})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Snakefile", ".dvc/config", ".dvcignore", ".gitignore", "dvc.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("specs", "rules", "profiles", "stages/evals"):
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
    assert "--config: found sclae; allowed: scale, releases, deep." in said
    assert "Traceback" not in said


def test_snakemake_works_in_the_project_alone(project: Path) -> None:
    """Elsewhere nothing seems to be done, since paths are relative, and jobs are those of what is there."""
    said = call(project, "snakemake", "-n", "--directory", str(project.parent), code=2)
    assert f"Snakemake works in {project.parent}; allowed: {project}, the directory of its Snakefile." in said
    assert "Traceback" not in said


def test_snakemake_refuses_to_start_when_the_rules_are_not_what_the_specs_say(project: Path) -> None:
    with (project / "rules" / "ouro.smk").open("a") as file:
        file.write("# edited by hand\n")
    assert "rules/ouro.smk: not what the specs say. Run `stages sync`." in call(project, "snakemake", "-n", code=1)


def test_snakemake_plans_no_stage_below_a_finding_and_plans_other_pipelines(project: Path) -> None:
    spec = project / "specs/llama31_1m/cpt_512k.yaml"
    edit(spec, "document_mask: true", "document_mask: false")
    said = call(project, "snakemake", "-n", "llama31_1m__sft_1m", code=1)
    assert "stages: llama31_1m/sft_1m is not started" in said
    assert "specs/llama31_1m/cpt_512k.yaml:25: I-19" in said
    assert "Traceback" not in said
    assert "kimi_vl__joint_longctx" in call(project, "snakemake", "-np", "kimi_vl")
    assert not (project / "results/.markers").exists(), "a dry run starts no jobs, and writes nothing for them"


@pytest.mark.nightly  # by day tests/agreement edits a smaller project
def test_an_edit_runs_what_snakemake_lists_and_going_back_runs_nothing(project: Path) -> None:
    """On the pipeline with the fewest boxes that has a branch: each box is a process, and those take the time."""
    subprocess.run(["git", "init", "-q", project], check=True)
    call(project, "snakemake", "kimi_vl")
    ran = trained(project)
    assert sorted(ran) == sorted(set(ran))
    assert {"kimi_vl/text_pretrain", "kimi_vl/vit_coca", "kimi_vl/joint_longctx"} < set(ran)

    spec = project / "specs" / "kimi_vl" / "joint_cooldown.yaml"
    before = spec.read_text()
    spec.write_text(replaced(before, "epochs: ", "epochs: 1"))
    said = call(project, "snakemake", "-n", "kimi_vl")
    assert "kimi_vl__joint_cooldown" in said
    assert "kimi_vl__joint_longctx" in said
    assert "kimi_vl__joint_pretrain" not in said
    call(project, "snakemake", "kimi_vl")
    assert trained(project)[len(ran) :] == ["kimi_vl/joint_cooldown", "kimi_vl/joint_longctx"]

    spec.write_text(before)
    assert call(project, "snakemake", "kimi_vl").count("was put back, no training") == 2
    assert len(trained(project)) == len(ran) + 2
    assert "Nothing to be done" in call(project, "snakemake", "-n", "kimi_vl")


@pytest.mark.slow
def test_a_failed_stage_is_told_and_the_other_branch_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_STAGE", "kimi_vl/vit_coca")
    said = call(project, "snakemake", "kimi_vl", code=1)
    assert trained(project) == ["kimi_vl/text_pretrain"]
    assert "FAILED" in said
    assert "as the test asked" in said
