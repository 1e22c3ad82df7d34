"""What several commands take, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Headings of `stages --help`.
SPECS = "Specs (nothing is run)"
RUNS = "Inputs and runs"
RESULTS = "Results"
FORENSICS = "Forensics: what a run read, whether it computed right"
PROJECT = "A project of your own"
RECIPES = "Recipes of other trainers"


def _usual_scale() -> str:
    from stages.commands.find_project import usual_scale

    return usual_scale()


Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        help="mini, small, paper, or another of specs/scales.",
        default_factory=_usual_scale,
        show_default="mini, or the only one there is",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="PIPELINE[/STAGE]", help="Which ones; all of them if left out.")
]
Ref = Annotated[str, typer.Argument(metavar="PIPELINE/STAGE", help="One stage, by its pipeline and its name.")]
Marker = Annotated[
    Path | None,
    typer.Option("--marker", help="For Snakemake's rules: the marker to make; refused if the specs mean another."),
]


def _folder_of_releases(given: Path | None) -> Path | None:
    if given is not None:
        from stages.store.releases import folders

        folders(given)
    return given


Releases = Annotated[
    Path | None,
    typer.Option("--releases", callback=_folder_of_releases, help="Folder with one folder per released model."),
]
