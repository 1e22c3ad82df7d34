"""`pytest --stages` on a project that `stages init` makes: when it fails, what it says, and when it writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.scaffold import init
from tests import edits

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = "stages.testing.plugin"
UPDATE = ("--stages-update", "--stages-reason", "as it should be")
SPECS = ("--stages", "-m", "spec")
PLANTED = """import dataclasses

from stages.data.loading.loader import PhaseData
from stages.train.optimizer import Optimizer

load, samples = Optimizer.load, PhaseData.samples


def lost(self, state, module, where):
    kept = {name: one * 0 if name == "llm.model.norm.weight.exp_avg" else one for name, one in state.items()}
    load(self, kept, module, where)


def another(self, first, count, tail):
    rows = samples(self, first, count, tail)
    if self.phase.name == "main" and first == 2 * count:
        rows[0].positions[5:] += 1
    return rows


Optimizer.load, PhaseData.samples = lost, another
"""
LIGHT = """import sys


def test_imports():
    assert [name for name in sys.modules if name.partition(".")[0] in ("torch", "pydantic")] == []
"""


def run(project: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Pytest with this plugin and those named, no matter which are registered, and with no terminal."""
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    environment = {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *words]
    return subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def goldens(project: Path) -> dict[str, bytes]:
    folder = project / "tests/stages"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.yaml"))}


def assert_message(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """The run failed, with every part in what it says, and without a traceback."""
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 5), said
    assert all(part in said for part in parts), said
    assert "Traceback" not in said
    assert re.search(r"\.py:\d+: \w+Error", said) is None, (
        said
    )  # pytest's own tracebacks, which quote messages from the source
    assert "INTERNALERROR" not in said


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return init.create(tmp_path / "own", "tiny")


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its goldens of kind spec, made once."""
    made = init.create(tmp_path_factory.mktemp("updated") / "own", "tiny")
    done = run(made, *SPECS, *UPDATE)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def kept(updated: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(updated, tmp_path / "own", symlinks=True))


def test_the_package_registers_the_plugin() -> None:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert found["project"]["entry-points"]["pytest11"] == {"stages": PLUGIN}


def test_without_the_option_nothing_is_collected_and_no_torch_is_loaded(project: Path) -> None:
    assert run(project).returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    (project / "test_own.py").write_text(LIGHT)
    done = run(project)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_specs_plans_and_scripts_are_compared_without_torch(project: Path) -> None:
    (project / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    kinds = ("--stages", "-m", "spec or plan or emitted")
    done = run(project, *kinds, *UPDATE, PYTHONPATH=f"{project}:{ROOT}")
    assert done.returncode == 0, done.stdout + done.stderr
    stages = ("tiny/long", "tiny/pretrain", "tiny/sft")
    assert list(goldens(project)) == [f"{ref}.{kind}.yaml" for ref in stages for kind in ("emitted", "plan", "spec")]
    done = run(project, *kinds, PYTHONPATH=f"{project}:{ROOT}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout


def test_a_missing_golden_fails_with_the_command_that_makes_it(project: Path) -> None:
    done = run(project, *SPECS)
    assert done.returncode == 1
    assert_message(
        done,
        "tests/stages/tiny/sft.spec.yaml: there is no golden",
        "pytest --stages --stages-select tiny/sft -m spec --stages-update --stages-reason",
        "3 goldens. Make all of them: pytest -p stages.testing.plugin",
        "--stages -m spec --stages-update --stages-reason",
        "3 failed, 1 passed",
    )
    assert goldens(project) == {}


def test_no_command_for_all_is_given_where_it_would_change_other_goldens(kept: Path) -> None:
    (kept / "tests/stages/tiny/long.spec.yaml").unlink()
    (kept / "tests/stages/tiny/pretrain.spec.yaml").unlink()
    edits.edit(kept / "specs/tiny/pipeline.yaml", "to: 1e-3, for: 2_048", "to: 1.5e-3, for: 2_048")
    done = run(kept, *SPECS)
    assert_message(done, "tests/stages/tiny/long.spec.yaml: there is no golden", "3 failed, 1 passed")
    assert "Make all of them" not in done.stdout


def test_an_update_writes_the_reason_and_the_key_and_what_is_unchanged_passes(kept: Path) -> None:
    before = goldens(kept)
    assert list(before) == ["tiny/long.spec.yaml", "tiny/pretrain.spec.yaml", "tiny/sft.spec.yaml"]
    about = yaml.safe_load(before["tiny/sft.spec.yaml"])["about"]
    assert about["reason"] == "as it should be"
    assert set(about["key"]) == {"mini"}
    done = run(kept, *SPECS)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True)
    assert run(kept, *SPECS, *UPDATE).returncode == 0
    assert goldens(kept) == before


def test_a_changed_learning_rate_is_named_with_its_stage_its_file_and_its_field(kept: Path) -> None:
    edits.edit(
        kept / "specs/tiny/pipeline.yaml",
        "from: current, to: 1e-3, for: 2_048",
        "from: current, to: 1.5e-3, for: 2_048",
    )
    done = run(kept, *SPECS)
    assert done.returncode == 1
    assert_message(
        done, "tests/stages/tiny/sft.spec.yaml", "mini.schedule.pieces.0.last: 0.001 -> 0.0015", "1 failed, 3 passed"
    )
    before = goldens(kept)
    assert run(kept, *SPECS, *UPDATE).returncode == 0
    assert [path for path, content in goldens(kept).items() if content != before[path]] == ["tiny/sft.spec.yaml"]
    assert run(kept, *SPECS).returncode == 0


def test_a_golden_of_no_stage_fails_and_an_update_removes_it(kept: Path) -> None:
    left = kept / "tests/stages/tiny/gone.spec.yaml"
    left.write_bytes((kept / "tests/stages/tiny/sft.spec.yaml").read_bytes())
    assert_message(run(kept, *SPECS), "goldens of no stage", "tiny/gone.spec.yaml", "1 failed, 3 passed")
    assert left.exists()
    assert run(kept, *SPECS, *UPDATE).returncode == 0
    assert not left.exists()


def test_updates_are_refused_in_ci_and_without_a_reason_and_do_nothing_without_the_option(project: Path) -> None:
    assert_message(run(project, *SPECS, *UPDATE, CI="true"), "refused where CI is set")
    assert_message(run(project, *SPECS, "--stages-update"), "asks for a reason")
    assert_message(run(project, *SPECS, "--stages-update", "--stages-reason", "  "), "asks for a reason")
    assert "no golden has changed (of a project's stages: add --stages)" in run(project, *UPDATE).stdout
    assert goldens(project) == {}


@pytest.mark.parametrize(
    "edit",
    [
        lambda entry: {**entry, "about": {**entry["about"], "key": "text"}},
        lambda entry: {**entry, "about": {**entry["about"], "environment": "text"}},
        lambda entry: {**entry, "golden": []},
        lambda entry: {"environments": {"x": {**entry, "golden": {"steps": []}}}},
        lambda entry: {"environments": []},
    ],
    ids=["key", "environment", "golden", "of another kind", "environments"],
)
def test_a_golden_edited_by_hand_is_named_without_a_traceback(kept: Path, edit: Callable[[Any], object]) -> None:
    path = kept / "tests/stages/tiny/sft.spec.yaml"
    entry = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(edit(entry)))
    # The spec differs too, so that what the golden was made from is read.
    edits.edit(
        kept / "specs/tiny/pipeline.yaml",
        "from: current, to: 1e-3, for: 2_048",
        "from: current, to: 1.5e-3, for: 2_048",
    )
    assert_message(run(kept, *SPECS), "sft.spec.yaml", "restore it, or delete it and update", "1 failed, 3 passed")


def test_what_is_no_stage_and_what_is_no_project_are_refused(project: Path, tmp_path: Path) -> None:
    misspelt = run(project, *SPECS, "--stages-select", "tiny/none")
    assert_message(misspelt, "tiny/none", "tiny/pretrain")
    assert "leaves no test of a stage" not in misspelt.stdout, "the markers are right"
    assert_message(run(tmp_path, *SPECS), "--stages:")
    assert_message(
        run(project, "--stages-select", "tiny/sft"), "--stages-select: found without --stages", "Add --stages."
    )


def test_a_kind_that_there_is_not_is_named_with_those_there_are(project: Path) -> None:
    assert (
        "--stages: -m 'spce' leaves no test of a stage; kinds: spec, plan,"
        in run(project, "--stages", "-m", "spce").stdout
    )
    assert "leaves no test" not in run(project, "--stages", "-m", "plan").stdout


@pytest.mark.slow
def test_short_runs_are_compared_and_cut_runs_and_two_ranks_are_equal(project: Path) -> None:
    kinds = ("--stages", "-m", "steps or twin or layout")
    done = run(project, *kinds, *UPDATE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    path = project / "tests/stages/tiny/sft.steps.yaml"
    ((environment, entry),) = yaml.safe_load(path.read_text())["environments"].items()
    assert len(entry["golden"]["steps"]) == 4
    loss = entry["golden"]["steps"][1]["loss"]
    entry["golden"]["steps"][1]["loss"] = (float.fromhex(loss) * (1 + 2**-50)).hex()
    path.write_text(yaml.safe_dump({"environments": {environment: entry}}))
    done = run(project, "-p", "xdist", "-n", "2", *kinds)
    assert_message(done, "sft.steps.yaml", "first differs at step 2: loss", "1 failed, 8 passed")
    assert len(set(re.findall(r"--stages-seed \d+", done.stdout))) == 1, done.stdout
    (project / "planted.py").write_text(PLANTED)
    done = run(project, "-p", "planted", "--stages", "--stages-select", "tiny/pretrain", "-m", "steps or twin",
               PYTHONPATH=f"{project}:{ROOT}")  # fmt: skip
    assert_message(done, "first differs at step 3: samples", "in the same step loss, gradient, grad_norm", "2 failed")
    assert_message(done, "optimizer state: 1 of 41 differ, llm.model.norm.weight.exp_avg")


@pytest.mark.parametrize("choice", ["plan", "not spec", "twin"])
def test_specs_that_cannot_be_read_fail_whatever_is_chosen(project: Path, choice: str) -> None:
    edits.edit(project / "specs/tiny/pipeline.yaml", "to: 1e-3, for: 2_048", "too: 1e-3, for: 2_048")
    assert_message(
        run(project, "--stages", "-m", choice), "specs/tiny/pipeline.yaml:25", "the unknown key 'too'", "1 failed"
    )
