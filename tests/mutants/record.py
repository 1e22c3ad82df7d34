"""Writes results/records/mutants.md: `python -m tests.mutants.record BEFORE NOW COMMIT` (called by `make mutants`).

BEFORE and NOW are the files of outcomes that `tests.mutants.campaign` wrote for the code of COMMIT and for this one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stages.report.commit import commit
from stages.store.files import write_atomic
from tests.mutants import matrix
from tests.mutants.campaign import edits, report


def main() -> None:
    earlier, latest, named = sys.argv[1:]
    root = Path.cwd()
    now = report.read(Path(latest))
    before = report.as_of_now(report.read(Path(earlier)), now)
    text = matrix.markdown([*matrix.rows(), *matrix.guarded(), *matrix.of_code()])
    text += "\n" + report.markdown(now, before, (named, commit(root)), len(edits.every(root / "specs")))
    write_atomic(root / "results" / "records" / "mutants.md", text.encode())


if __name__ == "__main__":
    main()
