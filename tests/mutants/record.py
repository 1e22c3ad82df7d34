"""Writes results/records/mutants.md: `python -m tests.mutants.record [SHIPPED FIELDS]` (called by `make mutants`).

SHIPPED and FIELDS are the files of outcomes that `tests.mutants.campaign` wrote, of the shipped specs and, with
`--fields`, of those of tests/mutants/fields. Without them the table of mutants alone is made again, in a minute or two;
the chapters of slips, which say their own commit, stay.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from stages.report.commit import commit
from stages.store.files import write_atomic
from tests import shipped
from tests.mutants import matrix, unshipped
from tests.mutants.campaign import edits, report

SHIPPED = """\
## Slips

Figures and references of the shipped specs changed as authors slip, one at a time, and `stages check` run on each
(tests/mutants/campaign). The share caught is that of slips that are wrong: those with a finding, against those and the
missed, the later and the crashed.
"""
FIELDS = """\
## Slips in what no shipped pipeline has

The same of the specs in tests/mutants/fields: schedules of every number that may have one, groups, skipped steps and
averages of an optimizer, points, merges, a sweep, grown layers, experts of a dense model, budgets in epochs, YaRN,
imports with every figure.
"""


def main() -> None:
    root = Path.cwd()
    path = root / "results" / "records" / "mutants.md"
    text = matrix.markdown([*matrix.rows(), *matrix.guarded(), *matrix.of_code()])
    if sys.argv[1:]:
        text += slips_of(root, sys.argv[1:])
    else:
        before = path.read_text()
        text += before[before.index(f"\n{SHIPPED}") :]
    write_atomic(path, text.encode())


def slips_of(root: Path, files: Sequence[str]) -> str:
    """The chapters of slips, from the files of their outcomes."""
    text = ""
    with tempfile.TemporaryDirectory() as folder:
        every = (
            edits.every(shipped.copy(Path(folder) / "shipped") / "specs"),
            unshipped.slips(unshipped.write(Path(folder) / "fields") / "specs"),
        )
    for head, file, slips in zip((SHIPPED, FIELDS), files, every, strict=True):
        text += f"\n{head}\n{report.markdown(report.read(Path(file)), commit(root), len(slips))}"
    return text


if __name__ == "__main__":
    main()
