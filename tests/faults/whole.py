"""A fresh process that runs cases to their end, one after the other: whole.py ROOT SMALL NAME...

One sequence a micro-batch, so that several ranks have something to share. Started once per rank with RANK and
WORLD_SIZE set, it is one of the ranks. What Python's, NumPy's and torch's own generators hold is drawn again: it must
not matter.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from stages import engines
from stages.engines import Inputs
from stages.spec.key import phase_keys
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.store.layout import Layout
from tests import meeting
from tests.faults import cases
from tests.faults.cases import RELEASE, RELEASES, SCALE, Case
from tests.unit.data.small import Small


def main(root: str, small: str, *names: str) -> None:
    """Run each case in a folder of its own name below ROOT."""
    corpora = Small(Path(small), Path(small) / "data")
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        meeting.again_and_again()
    for name in names:
        case, folder = of_ranks(cases.make(name, corpora), ranks), Path(root) / name
        laid = folder / "laid"
        if os.environ.get("RANK", "0") == "0":
            case = cases.lay(case, folder, corpora, partial(alone, root=folder))
            laid.touch()
        while not laid.exists():  # parents are read before ranks meet
            time.sleep(0.05)
        random.seed()
        np.random.seed()
        torch.seed()
        run(case, folder)
        print(f"{name}: torch's compiler imported: {'torch._inductor' in sys.modules}")


def of_ranks(case: Case, ranks: int) -> Case:
    """The case with all its stages cut into the smallest micro-batches and trained by so many ranks."""

    def cut(stage: Stage) -> Stage:
        phases = tuple(phase.model_copy(update={"micro_batch": 1}) for phase in stage.phases)
        execution = stage.execution.model_copy(update={"ranks": ranks})
        return stage.model_copy(update={"phases": phases, "execution": execution})

    parents = tuple(map(cut, case.parents))
    return replace(case, stage=cut(case.stage), parents=parents, earlier=case.earlier and cut(case.earlier))


def alone(case: Case, root: Path) -> None:
    """Run the case's stage by this process, also where it is a rank."""
    with patch.dict(os.environ):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
        run(of_ranks(case, 1), root)


def run(case: Case, root: Path) -> None:
    """Run the case's stage with the engine."""
    layout, stage = Layout(root, SCALE), case.stage
    above = {parent: case.keys[parent] for parent in stage.parents}
    parents = manifest.parents(layout, above)
    releases = {RELEASE: root / RELEASES / RELEASE}
    engines.run(stage, Inputs(layout, case.key, phase_keys(stage, above), parents, layout.data, releases))


if __name__ == "__main__":
    main(*sys.argv[1:])
