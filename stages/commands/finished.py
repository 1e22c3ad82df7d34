"""The finished stage that a command exports, samples or evaluates: refused unless it is done and whole."""

from __future__ import annotations

from stages.commands.chosen import Chosen, choose
from stages.commands.parents import refuse_damaged
from stages.errors import UserError
from stages.export.result import Result
from stages.store import manifest
from stages.sync import graph


def finished(ref: str, scale: str) -> tuple[Result, Chosen]:
    """A stage's result, every digest of which was read, and the stage as its specs are now.

    Raises UserError for a stage that is not done, saying what it is and what to type.
    """
    chosen = choose(ref, scale)
    ref, verdict = chosen.ref, chosen.verdict(deep=True)
    if not verdict.done:
        # `stages run` of a stage whose parents are not done would only name them.
        waits = any(not chosen.other(parent).verdict().done for parent in chosen.stage.parents)
        command = chosen.layout.snakemake(graph.rule_name(ref)) if waits else verdict.command
        command = f" `{command}`" if command else ""
        raise UserError(f"{ref} is {verdict.state} ({verdict.why}); allowed: a stage that is done.{command}")
    for pointed_to in manifest.pointed_to(chosen.layout, ref):
        refuse_damaged(chosen.layout, pointed_to)
    return Result.open(ref, chosen.root, chosen.layout, chosen.project.data), chosen
