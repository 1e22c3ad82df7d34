"""The wheel, installed without the repository: a project is made, run, versioned and left with nothing to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.edits import replaced
from tests.package import clean
from tests.package.clean import Clean

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Clean:
    return clean.make(tmp_path_factory.mktemp("clean") / "venv", wheel)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, installed: Clean) -> Path:
    """A project whose pipeline was run by Snakemake, below a directory with a blank and a letter beyond ASCII."""
    folder = tmp_path_factory.mktemp("other people's größe")
    installed.type("stages init x --example tiny && cd x && git add --all && git commit -qm new && snakemake", folder)
    return folder / "x"


def test_the_command_is_the_installed_one_and_what_it_does_not_declare_is_not_there(
    installed: Clean, wheel: Path
) -> None:
    found = installed.type("python -c 'import stages; print(stages.__file__)'", installed.folder).strip()
    assert Path(found).is_relative_to(installed.folder)
    assert wheel.name.startswith(installed.type("stages --version", installed.folder).strip().replace(" ", "-"))
    for name in ("sklearn", "hypothesis", "transformers", "mypy", "pyarrow"):
        assert installed.run(f"python -c 'import {name}'", installed.folder).returncode == 1


@pytest.mark.nightly
def test_every_stage_is_done_and_learned_something(project: Path, installed: Clean) -> None:
    evals = {
        stage: json.loads((project / "results/mini/tiny" / stage / "eval.json").read_text())
        for stage in ("pretrain", "long", "sft")
    }
    for found in evals.values():
        before, after = (found[when]["validation"]["loss"] for when in ("before", "after"))
        assert after < before
    assert "Nothing to be done" in installed.type("snakemake -n", project)
    assert installed.type("git status --porcelain", project) == ""


@pytest.mark.nightly
def test_dvc_has_nothing_to_run_again_once_it_has_recorded_what_snakemake_made(project: Path, installed: Clean) -> None:
    installed.type("stages record-dvc", project)
    assert "up to date" in installed.type("dvc status", project)
    assert "up to date" in installed.type("dvc repro", project)


@pytest.mark.nightly
def test_dvc_runs_a_new_project_too(tmp_path: Path, installed: Clean) -> None:
    said = installed.type("stages init y && cd y && dvc repro", tmp_path)
    assert "tiny__sft" in said
    assert "up to date" in installed.type("dvc status", tmp_path / "y")


@pytest.mark.parametrize(
    "name", ["kimi_vl", *(pytest.param(one, marks=pytest.mark.nightly) for one in ("llama31_1m", "ouro"))]
)
def test_a_published_pipeline_is_a_project_and_says_what_its_corpora_need(
    tmp_path: Path, installed: Clean, name: str
) -> None:
    said = installed.type(f"stages init x --example {name} && cd x && stages check && snakemake -n", tmp_path)
    assert " 0 findings" in said
    assert f"{name}__" in said
    done = installed.run("stages data pairs" if name == "kimi_vl" else "stages data captions", tmp_path / "x")
    assert done.returncode == 1
    assert "package scikit-learn is not installed" in done.stderr


@pytest.mark.nightly
def test_ci_asks_a_new_project_for_snapshots_and_fails_on_a_finding(project: Path, installed: Clean) -> None:
    """That it passes with them is seen where docs/first-pipeline.md is typed (test_first_pipeline.py)."""
    asked = "no snapshots here; make and commit them"
    done = installed.run("./ci.sh", project)
    assert done.returncode == 1
    assert asked in done.stderr
    spec = project / "specs/tiny/long.yaml"
    kept = spec.read_text()
    spec.write_text(replaced(kept, "clock: reset", "clock: continue"))
    try:
        done = installed.run("./ci.sh", project)
        assert done.returncode != 0
        assert asked not in done.stderr, "the check ends it before"
    finally:
        spec.write_text(kept)
