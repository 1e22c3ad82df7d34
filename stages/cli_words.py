"""What several commands take, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Scale = Annotated[str, typer.Option("--scale", help="mini, small, paper, or another of specs/scales.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="PIPELINE[/STAGE]", help="Which ones; all of them if left out.")
]
Ref = Annotated[str, typer.Argument(metavar="PIPELINE/STAGE")]
Marker = Annotated[
    Path | None, typer.Option("--marker", help="What a rule awaits: refuse if the specs say something else by now.")
]
