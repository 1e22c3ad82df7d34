"""`stages diff`: what a change of the specs does, in meaning."""

from __future__ import annotations

import json
from pathlib import Path

from stages.commands.find_project import find_root, published_scale
from stages.contract import hardware as profiles
from stages.contract.hardware import Hardware
from stages.diff import render, screen, semantic
from stages.diff.revision import WORK_TREE, specs_at
from stages.diff.semantic import Difference, Side
from stages.errors import UsageError, UserError
from stages.spec.project import Project


def print_diff(
    old: str, new: str | None, scale: str | None, hardware: str | None, as_markdown: bool, as_json: bool
) -> None:
    """Print the difference between revision `old` and revision `new` (None: the work tree).

    Without a scale it is the published one, or another where the newer side has no such scale.
    """
    root = find_root()
    with specs_at(root, old) as before, specs_at(root, new) as after:
        at = scale or published_scale(Project.load(after))
        found = between((old, before), (new or WORK_TREE, after), at, hardware)
    if as_json:
        print(json.dumps(render.as_json(found), indent=2, default=str, allow_nan=False))
    else:
        print(render.markdown(found) if as_markdown else screen.text(found))


def between(old: tuple[str, Path], new: tuple[str, Path], scale: str, hardware: str | None) -> Difference:
    """The difference between two folders with specs/, each with its name.

    Priced on the device that is named, or on the usual one of the newer side's scale.
    """
    after = _side(*new, scale, hardware)
    return semantic.compare(_side(*old, scale, after.hardware), after, scale)


def _side(name: str, root: Path, scale: str, hardware: Hardware | str | None) -> Side:
    """A mistake in a revision's specs is shown with the revision's name: its file is not the one on disk."""
    try:
        project = Project.load(root)
        return semantic.side(name, project, scale, _profile(project, scale, hardware))
    except UserError as error:
        if name == WORK_TREE:
            raise
        raise (UsageError if isinstance(error, UsageError) else UserError)(f"at revision {name}: {error}") from None


def _profile(project: Project, scale: str, wanted: Hardware | str | None) -> Hardware:
    """The profile of a name as this side has it; where it has none, the one that is given."""
    if isinstance(wanted, Hardware):
        known = wanted.name in project.files.names("hardware")
        return profiles.load(project.files, wanted.name) if known else wanted
    return profiles.load(project.files, wanted) if wanted else profiles.load_usual(project.files, project.scale(scale))
