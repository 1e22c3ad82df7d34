"""Section: whole pipelines, every stage of them for a few steps, as `stages run` runs them.

One small pipeline has every kind of stage and of objective. `llama31_1m` at scale `small`, its budgets cut to a few
steps, has contexts up to 131,072 positions; its corpora have to be there (`make device-data`).
"""

from __future__ import annotations

import contextlib
import csv
import re
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.device.rows import NEAR, Row, Rows, against
from benchmarks.device.sections import Size
from benchmarks.device.training import ROOT
from stages.commands.run import run_stage
from stages.contract import hardware
from stages.errors import UserError
from stages.plan.pipeline import plan_pipeline
from stages.spec.project import Project
from stages.store import run_record
from stages.store.layout import Layout
from stages.train import checkpoint
from tests.agreement import project as toy

PIPELINE, SCALE, STEPS = "llama31_1m", "small", 4
MEMORY = "8 GB"  # of a node: a process that uses a GPU takes some for it
# So that the few rows of so many steps are whole ones of every corpus, in the stretches that each stage then has.
EPOCHS = "{base: 1, cpt_256k: 1, cpt_512k: 2, cpt_1m: 2, sft_32k: 4, sft_256k: 4, sft_1m: 4}"
CORPORA = (ROOT / "results" / SCALE / "data", ROOT / ".device" / "data")


def run(size: Size, rows: Rows) -> None:
    with tempfile.TemporaryDirectory() as name:
        rows.measure("toy", lambda: every_kind(Path(name) / "toy", size, rows))
    if size.rehearsed:
        return
    with tempfile.TemporaryDirectory() as name:
        rows.measure(PIPELINE, lambda: cut(Path(name), rows))


def every_kind(root: Path, size: Size, rows: Rows) -> list[Row]:
    """The tests' small pipeline: text with experts, CoCa, joint, conversations, a pointer, an export."""
    toy.write(root)
    scale = root / "specs/scales/mini.yaml"
    text = scale.read_text(encoding="utf-8")
    for old, new in (
        ("device: cpu", f"device: {size.device}"), ("torch-fp32", "torch-bf16"), ("memory: 1 GB", f"memory: {MEMORY}"),
    ):  # fmt: skip
        if old not in text:
            raise ValueError(f"{scale}: found no {old!r}")
        text = text.replace(old, new)
    scale.write_text(text, encoding="utf-8")
    run_all(root, "toy", "mini", "tiny", rows)
    return []


def cut(root: Path, rows: Rows) -> list[Row]:
    """The published pipeline at scale small, a few steps a stage, with the plan's figures beside the measured ones."""
    there = next((folder for folder in CORPORA if (folder / "tokenizer").is_dir()), None)
    if there is None:
        raise UserError(f"no prepared corpora in {' or '.join(map(str, CORPORA))}: `make device-data` prepares them")
    shorten(root)
    (root / "results" / SCALE).mkdir(parents=True)
    shutil.copytree(there, root / "results" / SCALE / "data")
    run_all(root, PIPELINE, SCALE, f"{STEPS} steps", rows)
    found = []
    project = Project.load(root)
    plan = plan_pipeline(project, PIPELINE, SCALE, hardware.load(project.files, "h100"))
    for stage in plan.stages:
        memory = [phase.memory.total - phase.memory.runtime - phase.memory.spare for phase in stage.phases]
        held = run_record.read(Layout(root, SCALE).stage(stage.ref)).peak_memory_mb
        if memory and held is not None:
            name = f"{stage.ref}: memory, as planned"
            found.append(against(name, "tensors", max(memory) / 1e6, ("allocated", held), "MB", NEAR))
    return found


def shorten(root: Path) -> None:
    """Specs of this project under `root`, whose scale small has budgets of a few steps and one row to evaluate on."""
    shutil.copytree(ROOT / "specs", root / "specs")
    for spec in (root / "specs" / PIPELINE).glob("*.yaml"):  # others read long rows again and again
        found = spec.read_text(encoding="utf-8")
        spec.write_text(re.sub(r"evaluate: \[[^\]]*\]", "evaluate: [validation_loss]", found), encoding="utf-8")
    path = root / "specs" / "scales" / f"{SCALE}.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"floor: \d+ steps", f"floor: {STEPS} steps", text)
    text = re.sub(r"(anchor: \{paper: [^,]+, here: )[^}]+", r"\g<1>1000", text)
    text = re.sub(r"epochs: \{base: [^}]*\}", f"epochs: {EPOCHS}", text)
    path.write_text(re.sub(r"samples: \d+", "samples: 1", text), encoding="utf-8")


def run_all(root: Path, pipeline: str, scale: str, setting: str, rows: Rows) -> None:
    """Run every stage in order, adding what each took with start, evaluation and end, and its steps alone."""
    layout = Layout(root, scale)
    with contextlib.chdir(root):  # commands are about the project that they are called in
        for name in Project.load(root).resolve(pipeline, scale).stages:
            began = time.monotonic()
            run_stage(f"{pipeline}/{name}", scale, None)
            took = time.monotonic() - began
            steps = stepped(layout.stage(f"{pipeline}/{name}") / checkpoint.TIMING)
            rows.add(Row(f"{pipeline}/{name}", f"{setting}, {steps:.1f} s of them", f"done in {took:.1f} s"))


def stepped(table: Path) -> float:
    """Seconds of all steps of a result; 0 where it was not trained."""
    if not table.exists():
        return 0.0
    with table.open() as file:
        return sum(float(row["seconds"]) for row in csv.DictReader(file))
