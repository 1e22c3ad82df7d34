"""What a run is meant to begin from, and data that it never reads."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.figures import last_step
from stages.audit.finding import rule, stage_rule
from stages.audit.recipe import Fault, Pipeline, Stage
from stages.audit.rules.checkpoints import by_number, loaded, nearest_folder, numbered


@stage_rule("load-disabled", "I-06", "A checkpoint is named, and loading it is turned off")
def disabled(stage: Stage) -> Iterator[Fault]:
    """torchtitan reads and writes checkpoints only where they are enabled: the path alone does nothing."""
    path = stage.values.get("load_off")
    if path is not None:
        yield Fault(
            stage,
            path.where,
            f"{path.key} without checkpoint.enable",
            "checkpoint.enable = true",
            "the run begins from new weights, and saves none",
            stage.count("tokens"),
            "the command line enables checkpoints",
        )


@rule("parent-unmade", "I-06", "The run begins from a model that nothing here makes")
def unmade(pipeline: Pipeline) -> Iterator[Fault]:
    """A step names its parent by the name of a result, and the other steps next to it make results of other names; or
    a numbered run names a folder next to the one that the run before it makes."""
    saved = {stage.folder("save").rsplit("/", 1)[-1]: stage for stage in pipeline.stages}
    for stage in pipeline.stages:
        name = stage.text("result") or ""
        others = sorted(one for one, maker in saved.items() if one and maker is not stage)
        near = [one for one in others if one.startswith(name) or name.startswith(one)]
        if name and name not in saved and near:
            yield stage.fault(
                "result",
                name,
                f"one that is made here: {', '.join(near[:4])}",
                "the launch stops, or another model of this name is loaded",
                unless="it was registered by hand, or made elsewhere",
            )
    yield from _next_to(pipeline)


def _next_to(pipeline: Pipeline) -> Iterator[Fault]:
    """Files with numbers, of which one begins from a folder next to that of the one before, which no run reads."""
    named = by_number(pipeline)
    for stage in pipeline.stages:
        place = numbered(stage)
        before = None if place is None else named.get((place[0], place[1] - 1))
        path = loaded(stage)
        if before is None or pipeline.parent(stage) is not None or pipeline.children(before) or "/" not in path:
            continue
        made, beside = before.folder("save"), path.rpartition("/")[0]
        misspelt = nearest_folder(path, [made]) is not None  # parent-misspelt
        other = "#" in stage.name or loaded(before) == path or misspelt
        if made and made != path and made.rpartition("/")[0] == beside and not other:
            yield stage.fault(
                ("load", "pretrained"),
                path,
                f"{made}, which {before.name} saves to?",
                "the launch stops, or another model is loaded",
                unless="it was made elsewhere",
            )


@stage_rule("data-never", "I-30", "A mixture that is never read")
def never(stage: Stage) -> Iterator[Fault]:
    """A data stage that begins after the run's last step."""
    last = last_step(stage)
    for name in stage.values:
        first = stage.count(name) if name.startswith("data_from") else None
        if first is not None and last is not None and first > last:
            yield Fault(
                stage,
                stage.values[name].where,
                f"a mixture from step {first:,} on, in a run that ends at step {last:,}",
                f"a step up to {last:,}",
                "the data before it is read to the end",
            )
