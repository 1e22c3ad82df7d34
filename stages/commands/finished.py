"""The finished stage that a command exports, samples or evaluates: refused unless it is done and whole."""

from __future__ import annotations

from collections.abc import Mapping

from stages.commands.find_project import open_project, pick
from stages.commands.parents import refuse_damaged, verdict_on
from stages.errors import UserError
from stages.export.result import Result
from stages.spec.claims import Claim
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout
from stages.sync import graph


def finished(ref: str, scale: str) -> tuple[Result, tuple[Claim, ...]]:
    """A stage's result and the published totals of its pipeline. Raises as `among`."""
    result, project, _ = _finished(ref, scale)
    return result, project.resolve(result.ref.partition("/")[0], scale).claims


def among(ref: str, scale: str) -> tuple[Result, Mapping[str, Stage]]:
    """A stage's result and all stages of its scale, as their specs are now.

    Every digest of it is read. Raises UserError for a stage that is not done, saying what it is and what to type.
    """
    result, _, stages = _finished(ref, scale)
    return result, stages


def _finished(ref: str, scale: str) -> tuple[Result, Project, Mapping[str, Stage]]:
    root, project = open_project(scale)
    loaded = graph.readable(root, project, scale)
    (ref, stage), layout = pick(loaded, ref), Layout(root, scale)
    verdict = verdict_on(layout, ref, loaded.stages, loaded.keys, deep=True)
    if not verdict.done:
        # `stages run` of a stage whose parents are not done would only name them.
        waits = any(not verdict_on(layout, parent, loaded.stages, loaded.keys).done for parent in stage.parents)
        command = f"snakemake {graph.rule_name(ref)} --config scale={scale}" if waits else verdict.command
        command = f" `{command}`" if command else ""
        raise UserError(f"{ref} is {verdict.state} ({verdict.why}); allowed: a stage that is done.{command}")
    for pointed_to in manifest.pointed_to(layout, ref):
        refuse_damaged(layout, pointed_to)
    return Result.open(ref, root, layout, project.data), project, loaded.stages
