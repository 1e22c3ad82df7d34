"""`python -m tests.traced LIBRARY [all]`: trace every kind of stage, then planted defects; JSON on the output.

A process of its own: torch has to meet the device that is none before anything else, and keeps it. A kind is traced in
the ways that change its operations, with `all` in every way.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.traced import device


def main(library: str, which: str = "") -> None:
    device.load(Path(library))
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # it is 0, so it is aligned
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tests.traced import evaluations, planted, steps
    from tests.unit.evals.conftest import build

    # One, since tables that are made once are of the mode that made them.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    found = {
        f"{kind}: {way.name}": outcome(partial(steps.trace, kind, way, mode))
        for way in steps.WAYS
        for kind in (steps.KINDS if which == "all" else way.kinds)
    }
    corpora = build(Path(tempfile.mkdtemp(prefix="traced-", dir=Path(library).parent)))
    for case in evaluations.TRACED if which == "all" else evaluations.QUICK:
        found[f"evaluations: {case}"] = outcome(partial(evaluations.trace, case, corpora, mode))
    defects = {
        name: {"wanted": defect.said, **outcome(partial(planted.trace, name, mode))}
        for name, defect in planted.DEFECTS.items()
    }
    print(json.dumps({"steps": found, "planted": defects}), flush=True)
    # At times the interpreter's last garbage collection crashes with this device (SIGSEGV, "corrupted double-linked
    # list"), after all is printed. Why is not known. A crash before this line fails the test.
    os._exit(0)


def outcome(traced: Callable[[], Mapping[str, int]]) -> Mapping[str, object]:
    """Operations on the GPU by name, or what was found wrong with one, and where."""
    try:
        return {"operations": traced()}
    except Exception as error:  # whatever torch says of an operation
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/stages/" in frame.filename]
        own = [frame for frame in frames if not frame.filename.endswith("/models/layers.py")]  # which everything passes
        where = f" ({own[-1].filename.rpartition('/stages/')[2]}:{own[-1].lineno})" if own else ""
        return {"wrong": f"{type(error).__name__}: {error}{where}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
