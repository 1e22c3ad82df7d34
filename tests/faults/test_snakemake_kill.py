"""The published pipelines under Snakemake, stages killed with SIGKILL in the middle: the same bits as left alone.

The project is copied with budgets of about ten steps; everything else, the corpora too, is what `snakemake` runs at
mini. One stage of every objective is killed once, after its first checkpoint; Snakemake is called again until
it succeeds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from stages.spec.project import Project
from stages.sync import write
from tests.edits import substituted
from tests.paused import Watch

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("ouro__stable_1", "kimi_vl__joint_pretrain", "llama31_1m__sft_32k")
VICTIMS = {
    "next_token": "kimi_vl/text_pretrain",
    "looped": "ouro/stable_1",
    "coca": "kimi_vl/vit_coca",
    "align": "kimi_vl/vit_align",
    "joint": "kimi_vl/joint_pretrain",
    "sft": "llama31_1m/sft_32k",
}
KILLED_AFTER = 3  # steps: between two checkpoints, which are made every other step


def copy(folder: Path) -> Path:
    """The project at mini, with budgets of about ten steps and a checkpoint every other step."""
    folder.mkdir()
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("specs", "rules", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    path = folder / "specs/scales/mini.yaml"
    text = substituted(path.read_text(), r"here: \w+", "here: 12K", everywhere=True)
    text = substituted(text, r"evaluation: \{samples: \d+\}", "evaluation: {samples: 4}")
    path.write_text(substituted(text, r"checkpoint_every: \d+ steps", "checkpoint_every: 2 steps", everywhere=True))
    write.sync(folder, Project.load(folder), "mini")
    return folder


def finish(project: Path, watch: Watch | None = None) -> int:
    """Call Snakemake; its exit code."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if watch is not None:
        environment |= watch.environment(str(ROOT))
    command = [sys.executable, "-m", "snakemake", "--quiet", "all", "--cores", "2", *TARGETS]
    with (project / "said").open("a") as said:
        return subprocess.run(command, cwd=project, env=environment, stdout=said, stderr=said, check=False).returncode


def trainer(project: Path, ref: str) -> psutil.Process | None:
    """The process that trains `ref` in this project."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if words[1:5] == ["-m", "stages", "run", ref] and process.info["cwd"] == str(project):
            return process
    return None


def kill_once(project: Path, ref: str, run: Path, watch: Watch, over: threading.Event, killed: set[str]) -> None:
    """Wait until a run of `ref` is held, then kill it; it counts if there is a checkpoint in its folder of runs."""
    box = ref.partition("/")[2]
    while not over.is_set():
        if KILLED_AFTER in watch.steps(box) and (process := trainer(project, ref)) is not None:
            if any(run.glob("attempt-*/partial-*")):
                killed.add(ref)
            with suppress(psutil.NoSuchProcess):
                process.kill()
            watch.let_go(box)
            return
        time.sleep(0.05)


def manifests(project: Path) -> dict[str, bytes]:
    found = (project / "results/mini").glob("*/*/manifest.json")
    return {str(path.relative_to(project)): path.read_bytes() for path in found}


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_snakemake_again_after_kills_gives_the_bits_of_an_undisturbed_run(tmp_path: Path) -> None:
    calm = copy(tmp_path / "calm")
    assert finish(calm) == 0, (calm / "said").read_text()

    wild = copy(tmp_path / "wild")
    for done in (calm / "results/mini").glob("*/*"):  # nothing is trained twice that is not killed
        ref = "/".join(done.parts[-2:])
        if ref not in VICTIMS.values():
            shutil.copytree(done, wild / "results/mini" / ref)
    killed, over, watch = set[str](), threading.Event(), Watch(wild / "watched")
    for ref in VICTIMS.values():
        watch.hold(ref.partition("/")[2], KILLED_AFTER)
    keys = Project.load(wild).keys("mini")
    watchers = [
        threading.Thread(target=kill_once, args=(wild, ref, wild / "results/.runs" / keys[ref], watch, over, killed))
        for ref in VICTIMS.values()
    ]
    for watcher in watchers:
        watcher.start()
    try:
        codes = [finish(wild, watch)]
        while codes[-1] and len(codes) <= len(VICTIMS):
            codes.append(finish(wild, watch))
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()

    assert killed == set(VICTIMS.values())
    assert codes[-1] == 0, (wild / "said").read_text()
    assert len(codes) > 1
    assert manifests(wild) == manifests(calm)
