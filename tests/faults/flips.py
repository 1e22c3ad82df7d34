"""One bit flipped in a weight, a gradient or a data file at a random step: the step that `stages replay` then names.

`python -m tests.faults.flips [N [STEPS]]` needs the finished stages of `make mini`. It flips N bits, one in each of N
runs of miniatures, and replays each run without its flip; then every finished stage undisturbed, or its first STEPS
steps. Writes results/records/replay.md.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from stages.commands.replay import inputs, training
from stages.contract import ledger
from stages.engines import Inputs
from stages.forensics import replay as replaying
from stages.forensics.recorded import Recorded
from stages.report.commit import commit
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.files import write_atomic
from stages.store.fingerprint import fingerprint
from tests.faults.flipped_bits import KINDS, Flip, flipped_file, planted
from tests.faults.recording import Clean, record, with_sums

AFTER = 2  # steps that are recorded after the flip: what shows later is counted as not seen
REFS = ("llama31_1m/sft_32k", "llama31_1m/sft_256k", "ouro/longct_1_4b")


@dataclass(frozen=True)
class Seen:
    """Where a flip was seen: the step that the replay names (0: none), or that the run itself stopped at; `sum` is the
    first checksum that differs, of `sums`.
    """

    flip: Flip
    named: int
    sum: str
    sums: int
    columns: tuple[str, ...]
    stopped: bool


def seen(
    stage: Stage, inputs: Inputs, known: Recorded, kind: str, draw: random.Random, folder: Path,
    clean: Clean | None = None,
) -> Seen:  # fmt: skip
    """Record a run with one flip, replay it without, and say which step the replay names.

    Both begin at the hand-over or, with a clean run, at a checkpoint of it, up to four steps before the flip.
    """
    steps = sum(map(ledger.count, stage.phases))
    at, theirs, planned = draw.randrange(1, steps - AFTER), inputs, None
    if kind == "data":
        theirs, planned = flipped_file(stage, inputs, at, draw, folder)
        at = planned.step
    before, start = (0, None) if clean is None else clean.up_to(at - 1 - draw.randrange(4))
    with planted(kind, at - before, draw) as said:
        rows, sums, stopped = record(stage, theirs, min(steps, at + AFTER), start)
    planned = planned or Flip(kind, at, said[0])
    if stopped is not None:
        return Seen(planned, stopped, "", 0, ("not finite",), stopped=True)
    if clean is not None:
        rows, sums = clean.rows[:before] + rows, clean.sums | sums
    faulty = with_sums(known, sums, rows=tuple(rows), result=False)
    with mock.patch.object(replaying.resume, "before", return_value=start):
        found = replaying.replay(stage, inputs, faulty, before + 1, len(rows))
    differing = found.sums or ("",)
    columns = tuple(cell.column for cell in found.cells)
    return Seen(planned, found.step or 0, differing[0], len(differing), columns, stopped=False)


def main(count: int, steps: int | None) -> None:
    root, draw, found = Path.cwd(), random.Random(20261127), list[tuple[str, Seen]]()
    stages = {ref: inputs(training(ref, "mini"), None) for ref in REFS}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside, tempfile.TemporaryDirectory() as kept:
        quiet = beside.submit(undisturbed, root, steps)
        clean = {ref: recorded_clean(*stages[ref], Path(kept) / ref) for ref in REFS}
        for number in range(count):
            ref = REFS[number // len(KINDS) % len(REFS)]
            with tempfile.TemporaryDirectory() as folder:
                found.append((ref, seen(*stages[ref], KINDS[number % len(KINDS)], draw, Path(folder), clean[ref])))
            print(number + 1, ref, found[-1][1], file=sys.stderr, flush=True)
        text = "\n".join([*_head(root), *_table(found), *_quiet(quiet.result(), steps)]) + "\n"
    write_atomic(root / "results" / "records" / "replay.md", text.encode())
    print(text)


def recorded_clean(stage: Stage, inputs: Inputs, known: Recorded, folder: Path) -> Clean:
    """A run without a fault, with a checkpoint of every step."""
    rows, sums, stopped = record(stage, inputs, len(known.rows), None, folder)
    assert stopped is None
    assert rows == [dict(row) for row in known.rows], "this machine computes other numbers than `make mini` left"
    return Clean(rows, sums, folder)


def undisturbed(root: Path, most: int | None) -> list[tuple[str, int, int, bool]]:
    """Every finished miniature that trained, recorded again and replayed: (ref, steps, those with checksums, equal).

    The replay compares with metrics.csv and the result of `make mini`, and with the checksums of the second recording.
    """
    project, found = Project.load(root), []
    for pipeline in project.pipelines(variants=False, scale="mini"):
        for name, stage in project.resolve(pipeline, "mini").stages.items():
            if stage.phases:
                opened, read, known = inputs(training(f"{pipeline}/{name}", "mini"), None)
                last = min(most or len(known.rows), len(known.rows))
                _, sums, _ = record(opened, read, last)
                again = replaying.replay(opened, read, with_sums(known, sums), 1, last)
                found.append((f"{pipeline}/{name}", last, again.summed, again.equal))
                print(*found[-1], file=sys.stderr, flush=True)
    return found


def _head(root: Path) -> list[str]:
    machine = fingerprint()
    return [
        "# Measured: what `stages replay` names",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit(root)}, {machine['cpu_model']}, {machine['cpu_level']}, torch "
        f"{machine['torch']}. `{' '.join(['python -m tests.faults.flips', *sys.argv[1:]])}`, scale mini, steps of "
        f"{', '.join(REFS)}.",
        "",
        "In each run one bit is flipped: in a weight or the optimizer's state before a random step, in a gradient of",
        "it, or in a token of a data file that it learns. Any bit of any number of any tensor may be it.",
        "A replay compares the numbers of metrics.csv and the checksums of checksums.csv. A tensor is named where the",
        "first checksum that differs is its own; for data files, where it is that of the step's rows.",
        "",
    ]


def _table(found: list[tuple[str, Seen]]) -> list[str]:
    columns = ("flipped in", "runs", "its step is named", "and its tensor", "the run stopped there itself",
               "a later step is named", "none", "shown by metrics.csv too")  # fmt: skip
    out = [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
    for kind in KINDS:
        mine = [one for _, one in found if one.flip.kind == kind]
        here = [one for one in mine if not one.stopped and one.named == one.flip.step]
        tensor = sum(one.sum == one.flip.where.partition(" ")[0] for one in here)
        later = sum(not one.stopped and one.named > one.flip.step for one in mine)
        stopped, shown = sum(one.stopped for one in mine), sum(bool(one.columns) for one in here)
        cells = (kind, len(mine), len(here), tensor, stopped, later, len(mine) - len(here) - later - stopped, shown)
        out.append(f"| {' | '.join(map(str, cells))} |")
    return out


def _quiet(quiet: list[tuple[str, int, int, bool]], most: int | None) -> list[str]:
    which = "all steps" if most is None else f"the first {most} steps"
    steps, summed = sum(steps for _, steps, _, _ in quiet), sum(summed for _, _, summed, _ in quiet)
    alarms = sum(not equal for *_, equal in quiet)
    return [
        "",
        f"Undisturbed: {len(quiet)} finished stages, {which} of each, {steps:,} in all, {summed:,} of them with "
        f"checksums"
        f"{'' if most else ', and the tensors of the results'}: {alarms} alarms.",
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, int(sys.argv[2]) if len(sys.argv) > 2 else None)
