"""Measured records: the results of one scale over several seeds, as results/records/<scale>.json, .md and pictures.

`make record` calls `python -m stages.report.record mini mini_seed2 mini_seed3`: the first scale names the record, the
others differ from it in the seed alone. Every figure comes from files that runs wrote, the disappointing ones too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from stages.errors import UsageError, UserError
from stages.report import picture, pipeline_plot, record_text
from stages.report.collect import finished
from stages.report.commit import commit
from stages.report.gates import judge
from stages.report.metrics import StageResult, first_and_last_loss, seconds_in_steps
from stages.report.style import save
from stages.spec.project import Project
from stages.store import json_file
from stages.store.files import write_atomic
from stages.store.fingerprint import fingerprint
from stages.store.layout import Layout

BEGIN, END = "<!-- measured: written by `make record` -->", "<!-- measured: end -->"
README_PICTURE = ("ouro", "paper", "docs/img/ouro_lr.png")


def gather(root: Path, scales: Sequence[str]) -> tuple[dict[str, Any], list[StageResult]]:
    """Collect a record over the seeds of `scales`; returns it with the results of the first.

    Raises UserError where the scales do not have the same stages or do not differ in their seeds.
    """
    runs = {scale: finished(Layout(root, scale)) for scale in scales}
    first = runs[scales[0]]
    names = [result.stage.ref for result in first]
    for scale, results in runs.items():
        missing = set(names) ^ {result.stage.ref for result in results}
        if missing:
            raise UserError(f"results/{scale}: the scales differ in {', '.join(sorted(missing))}. Run both to the end.")
    seeds = [_seed(results) for results in runs.values()]
    if len(set(seeds)) != len(seeds):
        raise UserError(f"the scales {', '.join(scales)} have the seeds {seeds}; a spread needs different ones.")
    by_name = {name: [one for results in runs.values() for one in results if one.stage.ref == name] for name in names}
    record = {
        "scale": scales[0],
        "seeds": seeds,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(root),
        "environment": fingerprint(),
        "run_environments": sorted(
            {one.run.environment.id or "unknown" for results in runs.values() for one in results}
        ),
        "stages": {name: _stage(results) for name, results in by_name.items()},
        "gates": [
            {"seed": seed, "stage": gate.stage, "gate": gate.name, "passed": gate.passed, "found": gate.found}
            for seed, results in zip(seeds, runs.values(), strict=True)
            for gate in judge(results)
        ],
    }
    return record, first


def write(root: Path, scales: Sequence[str]) -> list[Path]:
    """Write the record of `scales` under results/records and its short form in README.md; returns the paths."""
    record, first = gather(root, scales)
    folder = root / "results" / "records"
    name = folder / scales[0]
    json_file.write(name.with_suffix(".json"), record, indent=1)
    write_atomic(name.with_suffix(".md"), record_text.page(record).encode())
    written = [name.with_suffix(".json"), name.with_suffix(".md")]
    for pipeline in sorted({result.stage.pipeline for result in first}):
        shown = lineage_of(pipeline, first)
        measured = {result.stage.ref: result.metrics for result in shown if result.metrics is not None}
        stages = {result.stage.ref: result.stage for result in shown}
        save(pipeline_plot.draw(pipeline, scales[0], stages, measured), folder / f"{scales[0]}_{pipeline}.png")
        written.append(folder / f"{scales[0]}_{pipeline}.png")
    readme = root / "README.md"
    by_specs = {**record, "stages": in_order_of_specs(root, scales[0], record["stages"])}
    write_atomic(readme, between(readme, record_text.short(by_specs)).encode())
    return [*written, readme]


def lineage_of(pipeline: str, results: Sequence[StageResult]) -> list[StageResult]:
    """A pipeline's results and those that they are built on: a variant's lineage begins in the pipeline it extends."""
    wanted = {result.stage.ref for result in results if result.stage.pipeline == pipeline}
    for result in reversed(_parents_first(results)):
        if result.stage.ref in wanted:
            wanted |= set(result.stage.parents)
    return [result for result in _parents_first(results) if result.stage.ref in wanted]


def in_order_of_specs(root: Path, scale: str, stages: Mapping[str, Any]) -> dict[str, Any]:
    """Stages by name as the specs have them, one line of descent after the other; then those that no spec has."""
    if not (root / "specs").is_dir():
        return dict(stages)
    project = Project.load(root)
    resolved = [project.resolve(name, scale) for name in project.pipelines(variants=True, scale=scale)]
    order = [f"{one.name}/{stage}" for one in resolved for stage in one.own]
    return {name: stages[name] for name in dict.fromkeys([*order, *stages]) if name in stages}


def between(path: Path, text: str) -> str:
    """The text of a file with what is between the two markers replaced; raises UserError where they are not."""
    found = path.read_text(encoding="utf-8")
    head, begin, rest = found.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise UserError(
            f"{path}: the lines {BEGIN!r} and {END!r} are needed, in this order, to write the table between."
        )
    return f"{head}{BEGIN}\n{text.strip()}\n{END}{tail}"


def _parents_first(results: Sequence[StageResult]) -> list[StageResult]:
    by_name = {result.stage.ref: result for result in results}
    graph = {name: [p for p in result.stage.parents if p in by_name] for name, result in by_name.items()}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def _seed(results: Sequence[StageResult]) -> int:
    """A scale's seed: that of most stages, since a stage may have one of its own."""
    return Counter(result.stage.seed for result in results).most_common(1)[0][0]


def _stage(results: Sequence[StageResult]) -> dict[str, Any]:
    """One stage over the seeds: figures are lists in the order of the seeds."""
    stage, manifest = results[0].stage, results[0].manifest
    found: dict[str, Any] = {
        "box": stage.box,
        "kind": stage.kind,
        "stand_in": manifest.stand_in,
        "tier": manifest.tier,
        "budget": stage.budget,
        "contexts": list(dict.fromkeys(phase.context for phase in stage.phases)),
        "unit": stage.phases[0].unit if stage.phases else None,
        "before": _sides([result.before for result in results]),
        "after": _sides([result.after for result in results]),
    }
    measured = [result.metrics for result in results if result.metrics is not None]
    if len(measured) == len(results):
        found["steps"] = list(map(len, measured))
        found["train_loss"] = [list(first_and_last_loss(one)) for one in measured]
        found["seconds"] = [seconds_in_steps(result.timing) for result in results]
    return found


def _sides(sides: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    names = [name for name in sides[0] if all(name in side for side in sides)]
    return {name: [side[name] for side in sides] for name in names}


def main(words: Sequence[str]) -> int:
    """Write the record of the scales named on the command line."""
    try:
        if not words:
            raise UsageError("name the scales of the record, the one without a changed seed first")
        root = Path.cwd()
        for path in write(root, words):
            print(path)
        pipeline, scale, file = README_PICTURE
        picture.write(Project.load(root), Layout(root, scale), pipeline, root / file)
        print(root / file)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
