"""`stages diff`: what a change of the specs does, in meaning."""

from __future__ import annotations

import json
from pathlib import Path

from stages.commands.open import find_root
from stages.diff import render, semantic
from stages.diff.revision import WORK_TREE, specs_at
from stages.diff.semantic import Side
from stages.errors import UsageError, UserError
from stages.plan import hardware as profiles
from stages.spec.files import Files
from stages.spec.project import Project


def print_diff(old: str, new: str | None, scale: str, hardware: str, as_markdown: bool, as_json: bool) -> None:
    """Print the difference between revision `old` and revision `new` (None: the work tree)."""
    root = find_root()
    profile = profiles.load(Files(root), hardware)
    with specs_at(root, old) as before, specs_at(root, new) as after:
        found = semantic.compare(_side(old, before, scale), _side(new or WORK_TREE, after, scale), scale, profile)
    if as_json:
        print(json.dumps(render.as_json(found), indent=2, default=str, allow_nan=False))
    else:
        print(render.markdown(found) if as_markdown else render.text(found))


def _side(name: str, root: Path, scale: str) -> Side:
    """A mistake in a revision's specs is told with the revision's name: its file is not the one on disk."""
    try:
        return semantic.side(name, Project.load(root), scale)
    except UserError as error:
        if name == WORK_TREE:
            raise
        raise (UsageError if isinstance(error, UsageError) else UserError)(f"at revision {name}: {error}") from None
