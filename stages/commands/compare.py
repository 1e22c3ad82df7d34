"""`stages compare`: two finished runs side by side."""

from __future__ import annotations

from pathlib import Path

from stages.commands import history
from stages.commands.chosen import choose
from stages.commands.find_project import find_root
from stages.diff.revision import is_revision, specs_at
from stages.errors import UsageError, UserError
from stages.printable import print_json, printable
from stages.spec.points import stage_name
from stages.spec.project import Project
from stages.store import manifest
from stages.store.layout import Layout
from stages.sync import graph


def print_compare(first: str, second: str, scale: str, as_json: bool) -> int:
    """Print the comparison; exit code 1 when two runs that must be equal are not, else 0."""
    from stages.diff import runs, runs_text

    one, other = folder(first, scale), folder(second, scale)
    found = runs.compare(one, other)
    if as_json:
        print_json(runs_text.as_json(found))
    else:
        print(printable(runs_text.text(found)))
        if one.resolve() == other.resolve():
            print("A and B are one result: both names lead to it.")
    return 1 if found.broken else 0


def folder(named: str, scale: str) -> Path:
    """The result that a word names: a folder with a manifest, or pipeline/stage, with @ and which of its results.

    Behind @ stands a scale, the first digits of a key, the count of a point, or a git revision, whose specs say the
    key. Raises UsageError where there is no such result.
    """
    if (Path(named) / manifest.NAME).is_file():
        return Path(named)
    ref, at, which = named.partition("@")
    if ref.count("/") != 1 or not all(ref.split("/")) or (at and not which) or Path(named).is_dir():
        raise UsageError(
            f"found {named!r}; allowed: the folder of a finished stage (it has a manifest.json), pipeline/stage, or "
            "pipeline/stage@ with a scale, the first digits of a key (`stages history`) or a git revision."
        )
    root = find_root()
    if not which or (Layout(root, which).stage(ref) / manifest.NAME).is_file():
        return _in_place(root, ref, which or scale, named)
    scales = Project.load(root).scales()
    if which in scales:
        return _in_place(root, ref, which, named)
    if (found := history.one_of(Layout(root, scale), ref, which)) is not None:
        return found
    point = "/".join(map(stage_name, named.split("/")))
    if point != named and (Layout(root, scale).stage(point) / manifest.NAME).is_file():
        return _in_place(root, point, scale, named)
    if not is_revision(root, which):
        raise UsageError(
            f"found {which!r}; allowed: a scale ({', '.join(scales)}), the first {history.SHORTEST} or more digits of "
            f"the key of a result that is there (`stages history {ref}`), or a git revision."
        )
    return _of_revision(root, ref, scale, which)


def _in_place(root: Path, ref: str, scale: str, named: str) -> Path:
    layout = Layout(root, scale)
    if not (layout.stage(ref) / manifest.NAME).is_file():
        ref = choose(ref, scale).ref
    place = layout.stage(ref)
    if not (place / manifest.NAME).is_file():
        typed = layout.snakemake(graph.rule_name(ref))
        raise UsageError(f"{named!r}: no finished result in {place}. `{typed}` makes it.")
    return place


def _of_revision(root: Path, ref: str, scale: str, revision: str) -> Path:
    """The result of the key that a revision's specs give to the stage."""
    with specs_at(root, revision) as folder:
        try:
            project = Project.load(folder)
            keys = project.keys(scale) if scale in project.scales() else {}
        except UserError as error:
            raise UserError(f"at revision {revision}: {error}") from None
    if ref not in keys:
        raise UsageError(f"{ref}@{revision}: no stage of that name at scale {scale} in the specs of {revision}.")
    found = history.of_key(Layout(root, scale), ref, keys[ref])
    if not found:
        raise UsageError(
            f"{ref}@{revision}: its key there is {keys[ref][: history.SHOWN]}, of which there is no result; "
            f"`stages history {ref}` lists those that there are."
        )
    return found[0].folder
