"""What a stage builds on is done and whole, before anything is made of it."""

from __future__ import annotations

from stages.commands.chosen import Chosen
from stages.errors import UserError
from stages.store import damage, manifest
from stages.store.layout import Layout
from stages.sync import graph


def refuse_without_parents(chosen: Chosen) -> None:
    """Raise UserError where a parent is not done, with the command that makes it, or what it points to is damaged."""
    missing, ref, layout = [], chosen.ref, chosen.layout
    for parent in chosen.stage.parents:
        verdict = chosen.other(parent).verdict(deep=True)
        if not verdict.done:
            missing.append(f"{parent} is {verdict.state} ({verdict.why})")
        else:
            for pointed_to in manifest.pointed_to(layout, parent):
                refuse_damaged(layout, pointed_to)
    if missing:
        raise UserError(
            f"{ref} needs its parents: {'; '.join(missing)}. "
            f"`{layout.snakemake(graph.rule_name(ref))}` runs them and it."
        )


def refuse_damaged(layout: Layout, ref: str) -> None:
    """What a stage builds on is read in full, seal and all: a flipped bit must not be trained on."""
    folder = layout.stage(ref)
    broken = damage.problems(folder)
    if broken:
        listed = "; ".join(map(str, broken))
        damage.note(folder, listed)  # so that the next `snakemake` rebuilds it
        raise UserError(f"{ref} is damaged: {listed}. `{layout.command(ref)}` rebuilds it.")
