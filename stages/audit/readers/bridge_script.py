"""Megatron-Bridge's recipes as scripts launch them: `run_recipe.py --recipe NAME train.train_iters=1000 ...`."""

from __future__ import annotations

from stages.audit.readers import bridge
from stages.audit.readers.arguments import flat
from stages.audit.readers.changes import Change, changed
from stages.audit.readers.launches import changes
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, numbered
from stages.audit.shell.commands import PRINTS
from stages.audit.shell.reader import Script
from stages.audit.shell.words import text


def stages(script: Script, name: str) -> list[Stage]:
    """The recipes that a script starts, each with what its line changes; the rest of a recipe is unknown."""
    found: list[Stage] = []
    for command in script.commands:
        words = flat(command)
        program = next((n for n, word in enumerate(words) if text(word).endswith(".py")), None)
        if program is None or text(words[0]) in PRINTS:
            continue
        settings = list(changes(words[program + 1 :], command.where))
        recipe = next((one for one in settings if one.path == ("recipe",)), None)
        if recipe is None or len(settings) < 2:
            continue
        named = Change(("recipe", "_target_"), f"{bridge.RECIPES}{recipe.text}", recipe.where)
        tree = changed(Tree({}, {(): command.where}), [*(one for one in settings if one is not recipe), named])
        found += bridge.stages(tree, name)
    return numbered(found)
