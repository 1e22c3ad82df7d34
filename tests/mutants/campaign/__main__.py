"""The campaign: `python -m tests.mutants.campaign [--fields] --out FILE` (called by `make mutants`).

Every slip of every figure and reference of specs/ is tried on `stages check`, on two processes; with `--fields`, of the
specs of tests/mutants/fields, which have what no shipped pipeline has. The outcomes are written to FILE as JSON lines,
which `tests.mutants.campaign.report` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests import shipped
from tests.mutants import unshipped
from tests.mutants.campaign import crew, edits


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.campaign", description=__doc__)
    parser.add_argument("--fields", action="store_true", help="the specs of tests/mutants/fields instead")
    parser.add_argument("--out", type=Path, required=True, help="where outcomes are written, one JSON object a line")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--each", type=int, help="only so many slips of each class, drawn with a fixed seed")
    asked = parser.parse_args()
    write, slips = (unshipped.write, unshipped.slips) if asked.fields else (shipped.copy, edits.every)
    crew.run(write, slips, asked.out, asked.processes, asked.each)


if __name__ == "__main__":
    main()
