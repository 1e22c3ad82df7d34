"""A person's own pipelines beside the shipped ones turn none of the tests of what is shipped red."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edits import edit
from tests.shipped import ROOT

TESTED = (
    *(f"tests/snapshot/test_{name}.py" for name in ("spec_and_plan", "engine_configs", "job_scripts")),
    *(f"tests/unit/{name}" for name in ("check", "plan", "scaffold", "cli/test_status.py", "cli/test_listing.py")),
    *("tests/property/test_keys.py", "tests/unit/diff/test_screen.py", "tests/unit/report/test_docs.py"),
    *("tests/unit/sync/test_params.py", "tests/unit/sync/test_rules_and_dvc.py", "tests/unit/test_figures.py"),
)
MIXTURES = """\
  job_reading:
    sources:
      - {corpus: prose, share: 100%, group: text}
  job_talking:
    sources:
      - {corpus: instruct, share: 100%, group: text}
"""
VARIANT = """\
pipeline: job_slow
title: A slower variant
citation: none, our own
figure: none
extends: job
schedules:
  sft:
    - {shape: linear, from: current, to: 5e-4, for: 2_048}
    - {shape: cosine, to: 0, until: 24_576}
sources:
  - {covers: [schedules], mark: chosen, reason: mine}
"""


def copy(folder: Path) -> Path:
    """The files of the work tree that git knows or would take."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def add(root: Path) -> None:
    """A pipeline of three stages at its own size at mini alone, and a variant of it, as docs/ say how."""
    specs = root / "specs"
    shutil.copytree(root / "examples/tiny/specs/tiny", specs / "job")
    edit(specs / "job/pipeline.yaml", "pipeline: tiny", "pipeline: job", "vocab: 512", "vocab: 1024")
    for stage, mixture in (("pretrain", "reading"), ("long", "reading"), ("sft", "talking")):
        edit(specs / f"job/{stage}.yaml", f"data: {mixture}", f"data: job_{mixture}")
    (specs / "job_slow").mkdir()
    (specs / "job_slow/pipeline.yaml").write_text(VARIANT)
    mine = "\nsources:\n  - {covers: [mixtures.job_reading, mixtures.job_talking], mark: chosen, reason: mine}\n"
    edit(specs / "data/mixtures.yaml", "mixtures:\n", f"mixtures:\n{MIXTURES}", "\nsources:\n", mine)
    edit(specs / "scales/mini.yaml", "pipelines:\n", "pipelines:\n  job: identity\n")
    alone = "pipelines: {llama31_1m: identity, kimi_vl: identity, ouro: identity}"
    edit(specs / "scales/paper.yaml", "pipelines: identity", alone)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_tests_of_what_is_shipped_pass_with_a_persons_own_pipelines_beside_it(tmp_path: Path) -> None:
    root = copy(tmp_path / "project")
    add(root)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    environment |= {"PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        return done.stdout

    run("stages", "sync")
    assert " on 8 pipelines " in run("stages", "check")
    run("pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow and not nightly", *TESTED)
