"""A project in which every part of a spec stands that no shipped pipeline has: tests/mutants/fields, with its corpora.

Its pipelines have schedules of every number that may have one, groups, skipped steps and averages of an optimizer,
points, merges, a sweep, grown layers, experts of a dense model, stages that begin with an average, budgets in epochs,
imports with every figure. `stages check` has no finding.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.mutants.campaign import edits
from tests.mutants.campaign.edits import Edit
from tests.shipped import ROOT

FIELDS = Path(__file__).parent / "fields"
SHARED = ("data", "hardware")  # folders of the shipped specs


def write(folder: Path) -> Path:
    """The project in `folder`; returns `folder`."""
    for name in SHARED:
        shutil.copytree(ROOT / "specs" / name, folder / "specs" / name)
    shutil.copytree(FIELDS, folder / "specs", dirs_exist_ok=True)
    return folder


def slips(specs: Path) -> list[Edit]:
    """Every slip of its own files: those of the shipped ones are tried on the shipped pipelines."""
    return [one for one in edits.every(specs) if (FIELDS / one.file).exists()]
