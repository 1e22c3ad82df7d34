"""The campaign: `python -m tests.mutants.campaign [--code FOLDER] [--out FILE]` (called by `make mutants`).

Every slip of every figure and reference of specs/ is tried on `stages check`, on two processes. With `--code`, the
specs and the code of another working copy are tried, by the same slips. The outcomes are written to FILE as JSON lines,
which `tests.mutants.campaign.report` reads.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.campaign", description=__doc__)
    parser.add_argument("--code", type=Path, default=Path.cwd(), help="a working copy of the project")
    parser.add_argument("--out", type=Path, required=True, help="where outcomes are written, one JSON object a line")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--each", type=int, help="only so many slips of each class, drawn with a fixed seed")
    asked = parser.parse_args()
    # Which `stages` is imported is decided here, before anything imports it: its folder, but these tests.
    sys.path.insert(0, str(asked.code.resolve()))
    import stages

    sys.path.pop(0)
    assert Path(stages.__file__).is_relative_to(asked.code.resolve())
    from tests.mutants.campaign import crew

    crew.run(asked.code.resolve() / "specs", asked.out, asked.processes, asked.each)


if __name__ == "__main__":
    main()
