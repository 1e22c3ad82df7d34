"""A project whose stages have all finished, with what runs leave beside: made by hand in a moment, under real keys."""

from __future__ import annotations

import os
from pathlib import Path

from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import attempts, files, finish, json_file, manifest, partials, progress
from stages.store.layout import Layout
from tests.unit.spec import small_project

SCALE = "mini"


def make(root: Path) -> Layout:
    """Write the project; each stage of the pipeline `toy` is done, and its variant's second stage has failed."""
    project = Project.load(small_project.write(root))
    layout, keys = Layout(root, SCALE), project.keys(SCALE)
    for name, stage in project.resolve("toy", SCALE).stages.items():
        finish_by_hand(layout, stage, keys[f"toy/{name}"], {ref: keys[ref] for ref in stage.parents})
    failed(layout, "toy_variant/second", keys["toy_variant/second"], {"toy/first": keys["toy/first"]})
    return layout


def finish_by_hand(layout: Layout, stage: Stage, key: str, parents: dict[str, str]) -> None:
    ref = f"{stage.pipeline}/{stage.name}"
    with attempts.start(layout, ref, key, manifest.parents(layout, parents)) as attempt:
        folder = attempt.result
        files.write_atomic(folder / "model/llm/model.safetensors", b"weights")
        json_file.write(folder / "state/counters.json", {"steps": 2, "consumed": 8, "clock": 8})
        if stage.phases:
            start, budget = stage.phases[0].clock_start, sum(phase.budget for phase in stage.phases)
            rows = [f"main,{n},{n},{start + budget * n // 2},0.001,2.5,1.0,7" for n in (1, 2)]
            files.write_atomic(folder / "metrics.csv", "\n".join([METRICS, *rows, ""]).encode())
            files.write_atomic(
                folder / "timing.csv", b"phase,step,seconds,tokens_per_second\nmain,1,1.5,8\nmain,2,1.5,8\n"
            )
            json_file.write(folder / "eval.json", {"before": {"validation": {"loss": 3.0}}, "after": {"loss": 2.0}})
        files.write_atomic(folder / "stage.json", stage.model_dump_json(indent=2).encode())
        run = {"environment": {"id": "1" * 16, "code": "2" * 16}, "finished": 1e9, "peak_memory_mb": 100.5}
        json_file.write(folder / "run.json", run)
        record = manifest.Manifest(
            schema_version=1, stage=ref, key=key, tier="bit-exact", stand_in=False, parents=dict(attempt.parents),
            points_to=None, counters={"steps": 2, "consumed": 8, "clock": 8},
            shards=manifest.shards(folder, ("model", "state", "metrics.csv", "eval.json"), attempt.written),
        )  # fmt: skip
        finish.finish(attempt, record)


METRICS = "phase,step,tokens,clock,lr,loss,grad_norm,supervised"


def failed(layout: Layout, ref: str, key: str, parents: dict[str, str]) -> None:
    """An attempt that left a checkpoint, how far it came, and why it ended."""
    try:
        with attempts.start(layout, ref, key, manifest.parents(layout, parents)) as attempt:
            progress.write(attempt.folder, "main", 3, 9, 0.5)
            partials.save(
                partials.path(attempt, 3), lambda folder: json_file.write(folder / "counters.json", {"steps": 3})
            )
            raise RuntimeError("out of luck")
    except RuntimeError:
        pass
    (layout.run(key) / "lease.json").write_text('{"host": "elsewhere", "pid": 7, "started": 1.5, "token": 1}')
    os.utime(layout.run(key) / "lease.json", (0, 0))
