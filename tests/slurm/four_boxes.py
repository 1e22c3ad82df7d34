"""A project of four boxes for the cluster's events: base, then wide (two nodes) and left; alone needs no other."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

from stages.spec.project import Project
from stages.sync import write
from tests.edits import edit, substituted

ROOT = Path(__file__).resolve().parents[2]
SPECS = Path(__file__).parent / "four"
BOXES = ("base", "wide", "left", "alone")


def make(folder: Path, steps: int, base_steps: int) -> Path:
    """Lay the project out in a new folder, its rules written from its specs. About so many steps for each box."""
    folder.mkdir()
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("specs/data", "specs/hardware", "profiles", "slurm"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
    (folder / "rules").mkdir()
    shutil.copy(ROOT / "rules/common.smk", folder / "rules")
    (folder / "specs/scales").mkdir()
    shutil.copy(SPECS / "mini.yaml", folder / "specs/scales")
    shutil.copytree(SPECS, folder / "specs/four", ignore=shutil.ignore_patterns("mini.yaml"))
    for path in (folder / "specs/four").glob("*.yaml"):
        share = (base_steps if path.stem == "base" else steps) / 400  # as they are written
        text = path.read_text()
        if path.stem != "pipeline":
            text = substituted(text, r"budget: (\d+)Ki", partial(_budget, share))
        path.write_text(text)
    write.sync(folder, Project.load(folder), "mini")
    return folder


def _budget(share: float, found: re.Match[str]) -> str:
    return f"budget: {round(int(found[1]) * share)}Ki"


def break_base(project: Path) -> None:
    """Have base's learning rate grow after 20 steps until its loss is no number. What alone reads is not changed."""
    pipeline = project / "specs/four/pipeline.yaml"
    grows = "{shape: linear, from: current, to: 1e9, for: 100 steps}\n    - {shape: constant, until: 10M}"
    edit(pipeline, "{shape: constant, until: 10M}\n  own:", f"{grows}\n  own:")
    base = pipeline.with_name("base.yaml")
    waived = "\nwaivers:\n  - {id: I-36, at: schedule.1, found: 1e9, reason: it is to diverge}\nsources:"
    edit(base, "\nsources:", waived)


def manifests(project: Path) -> dict[str, bytes]:
    """The manifest of every finished box: equal bytes mean equal digests of everything that a rerun makes again."""
    return {path.parent.name: path.read_bytes() for path in (project / "results/mini/four").glob("*/manifest.json")}
