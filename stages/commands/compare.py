"""`stages compare`: two finished runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

from stages.commands.open import find_root, open_project, pick
from stages.errors import UsageError
from stages.printable import printable
from stages.store.layout import Layout
from stages.sync import graph


def print_compare(first: str, second: str, scale: str, as_json: bool) -> int:
    """Print the comparison; exit code 1 when two runs that must be equal are not, else 0."""
    from stages.diff import runs, runs_text

    found = runs.compare(folder(first, scale), folder(second, scale))
    print(
        json.dumps(runs_text.as_json(found), indent=2, allow_nan=False) if as_json else printable(runs_text.text(found))
    )
    return 1 if found.broken else 0


def folder(named: str, scale: str) -> Path:
    """The result that a word names: a folder with a manifest, pipeline/stage, or pipeline/stage@scale."""
    if (Path(named) / "manifest.json").is_file():
        return Path(named)
    ref, _, other = named.partition("@")
    if ref.count("/") == 1 and all(ref.split("/")):
        at = other or scale
        place = Layout(find_root(), at).stage(ref)
        if (place / "manifest.json").is_file():
            return place
        root, project = open_project(at)
        pick(graph.readable(root, project, at), ref)
        target = graph.rule_name(ref)
        raise UsageError(
            f"{named!r}: no finished result in {place}. `snakemake {target} --config scale={at}` makes it."
        )
    raise UsageError(
        f"found {named!r}; allowed: the folder of a finished stage (it has a manifest.json), pipeline/stage, "
        f"or pipeline/stage@scale."
    )
