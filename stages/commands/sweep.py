"""`stages sweep P/S`: the variants of a stage in one table and one picture, and which of them is best."""

from __future__ import annotations

from pathlib import Path

from stages.commands.find_project import open_graph, refuse_unknown, stage_of
from stages.errors import UsageError
from stages.printable import print_json
from stages.spec.project import Project
from stages.spec.validate import near
from stages.spec.variants import RawVariant, sweeps
from stages.sync.verdicts import judge

WIDTH = 200


def print_sweep(ref: str, scale: str, as_json: bool, out: Path | None) -> None:
    """Print the table, and write the picture where a path is given. Raises UsageError for a stage without variants."""
    if out is not None and out.suffix != ".png":
        raise UsageError(f"--out: found {str(out)!r}; allowed: a file that ends in .png.")
    layout, project, loaded = open_graph(scale)
    variants = variants_of(project, ref, scale)
    from stages.report import metrics, sweep
    from stages.terminal import console_of

    refs = project.resolve(ref.partition("/")[0], scale).refs
    verdicts = judge(layout, loaded.stages, loaded.keys)
    arms = []
    for name, raw in variants.items():
        verdict = verdicts[refs[name]]
        done = verdict.done or verdict.state == "unevaluated"
        result = metrics.read(layout.stage(refs[name])) if done else None
        after, steps = ({}, None) if result is None else (result.after, result.metrics)
        unit = loaded.stages[refs[name]].phases[0].unit
        arms.append(sweep.Arm(name, raw.value, verdict.state, done, after, steps, unit))
    field = next(iter(variants.values())).field
    if as_json:
        print_json(sweep.as_json(arms, field))
    else:
        console_of(WIDTH).print(sweep.rich_table(f"{ref} at {scale}, by {field}", arms))
        for line in sweep.conclusions(arms, field):
            print(line)
    if out is not None:
        from stages.report import sweep_plot

        sweep_plot.write(arms, f"{ref} at {scale}", field, out)


def variants_of(project: Project, ref: str, scale: str) -> dict[str, RawVariant]:
    """The variants that a stage's file stands for, by name. Raises UsageError where it has none."""
    pipeline, _, name = ref.partition("/")
    refuse_unknown(project, pipeline, scale)
    known = sweeps(one.raw for one in project.loaded(pipeline).stages.values())
    for written, variants in known.items():
        if name == written or name in variants:
            return variants
    there = [f"{pipeline}/{written}" for written in known]
    hint = near(ref, there)
    if not hint:
        stage_of(project, ref, scale)
    listed = f"there are: {', '.join(there)}. {hint}" if there else f"{pipeline} has none."
    raise UsageError(f"{ref}: no stage with `variants`; {listed}".rstrip())
