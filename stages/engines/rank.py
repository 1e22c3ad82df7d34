"""One rank of a stage: `python -m stages.engines.rank JOB [--again | --found FILE]`, started by `stages.engines.launch`
or `.node`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from stages import engines
from stages.engines import agreed, launch, local
from stages.engines.launch import HELD, read_job
from stages.engines.nodes import CRASHED
from stages.errors import UserError, for_user
from stages.store import json_file
from stages.store.lease import HeldError


def main(job: str, *words: str) -> int:
    """Run the stage as the job says, or evaluate its result, and return the exit code."""
    local.end_with_launcher()
    try:
        _do(job, words)
    except Exception as error:
        if (reported := for_user(error)) is None:
            traceback.print_exc()  # a defect, or the echo of another rank's end: the launcher tells them apart
            return CRASHED
        print(reported, file=sys.stderr)
        return HELD if isinstance(reported, HeldError) else reported.exit_code
    return 0


def _do(job: str, words: Sequence[str]) -> None:
    stage, inputs = read_job(Path(job).read_text(encoding="utf-8"))
    ranks = stage.execution.ranks
    if (started := os.environ.get("WORLD_SIZE", str(ranks))) != str(ranks):
        raise UserError(f"{job}: {started} ranks were started; found {ranks} there. {agreed.FOLDER}")
    match words:
        case [launch.FOUND, path]:
            numbers = engines.found(stage, inputs)
            if os.environ["RANK"] == "0":  # all have the same
                json_file.write(Path(path), numbers)
        case [launch.AGAIN]:
            engines.evaluate(stage, inputs)
        case []:
            engines.run(stage, inputs)
        case _:
            raise ValueError(f"asked for {' '.join(words)}")


def end(code: int) -> None:
    """Leave the process; after an error at once, without the ends of libraries, which may wait for other ranks that
    wait for this one. Whatever it had or wrote has been given back or closed by then.
    """
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    end(main(*sys.argv[1:]))
