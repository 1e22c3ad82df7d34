"""One bit flipped in a weight, a gradient or a data file at a random step: the step that `stages replay` then names.

`python -m tests.faults.flips [N [STEPS]]` needs the finished stages of `make mini`. It flips N bits, one in each of N
runs of miniatures, and replays each run without its flip; then every finished stage undisturbed, or its first STEPS
steps. Writes results/records/replay.md.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from stages.commands.replay import opened
from stages.contract import ledger
from stages.contract.ledger import Step
from stages.data.loader import PhaseData
from stages.data.mmidx import read as read_tokens
from stages.data.readers import scope
from stages.engines import Inputs
from stages.engines.torch_trainer import TorchTrainer
from stages.forensics import replay as replaying
from stages.forensics.recorded import Recorded
from stages.report.commit import commit
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.files import write_atomic
from stages.store.fingerprint import fingerprint
from stages.train import checkpoint, metrics, replicated
from stages.train.checkpoint import Counters, Held
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.loop import Run, metric_columns, run_phase
from stages.train.metrics import GRADIENT, ROWS, Unwritten, Value
from stages.train.ranks import ALONE
from stages.train.stopping import NonFiniteError, StoppedError, StopRequest

KINDS = ("weight", "gradient", "data", "optimizer state")
AFTER = 2  # steps that are recorded after the flip: what shows later is counted as not seen
REFS = ("llama31_1m/sft_32k", "llama31_1m/sft_256k", "ouro/longct_1_4b")


@dataclass(frozen=True)
class Flip:
    """What is flipped: before a step's gradients a weight or moment, after them a gradient; or a token of a file."""

    kind: str
    step: int  # of the stage; the first that reads it, for data
    where: str  # the checksum's name, and which number and bit of it


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


class Rows(Unwritten):
    """Stands where metrics.csv does, and keeps its rows as text."""

    def __init__(self, columns: tuple[str, ...], last: int, stop: StopRequest) -> None:
        self.columns, self.rows, self._last, self._stop = columns, list[dict[str, str]](), last, stop

    def add(self, row: Mapping[str, Value]) -> None:
        """Keep a row."""
        self.rows.append({column: metrics.text(row.get(column, "")) for column in self.columns})
        if row["step"] == self._last:
            self._stop.ask()


class Sums(Unwritten):
    """Stands where checksums.csv does, and keeps its rows by step."""

    def __init__(self) -> None:
        self.columns, self.rows = (), dict[int, dict[str, str]]()

    def add(self, row: Mapping[str, Value]) -> None:
        """Keep a row."""
        self.rows[int(row["step"])] = {name: str(value) for name, value in row.items() if name != "step"}


Record = tuple[list[dict[str, str]], dict[int, dict[str, str]], int | None]


@dataclass(frozen=True)
class Clean:
    """A run without a fault: its rows and checksums, and where its checkpoints of every step lie."""

    rows: list[dict[str, str]]
    sums: dict[int, dict[str, str]]
    folder: Path

    def up_to(self, step: int) -> tuple[int, Path | None]:
        """The last checkpoint after at most so many steps, and after how many; the hand-over is 0."""
        kept = max((one for one in range(1, step + 1) if (self.folder / str(one)).is_dir()), default=0)
        return kept, self.folder / str(kept) if kept else None


def record(stage: Stage, inputs: Inputs, last: int, start: Path | None = None, keep: Path | None = None) -> Record:
    """Rows and checksums up to step `last`, from a checkpoint or the hand-over, as a run records them.

    Third, the step at which it stopped by itself. With `keep`, every step leaves a checkpoint there.
    """
    stop, sums = StopRequest(), Sums()
    rows = Rows(metric_columns(stage), last, stop)
    with deterministic(stage.execution), denormals_flushed():
        trainer = TorchTrainer(stage, inputs, ALONE)
        trainer.begin()
        counters = Counters(0, 0, 0, 0, 0, stage.phases[0].clock_start)
        if start is not None:
            counters = trainer.load(start)

        def save(now: Counters, wait: bool) -> None:
            if keep is not None:
                (keep / str(now.steps)).mkdir(parents=True, exist_ok=True)
                weights, optimizer = trainer._modules.state_dict(), trainer._optimizer
                held = Held(weights, optimizer.shapes(), optimizer.gather_state(), now, {})
                checkpoint.save(keep / str(now.steps), held, keep)

        often = stage.model_copy(update={"execution": stage.execution.model_copy(update={"checkpoint_every": 1})})
        run = Run(often if keep else stage, rows, Unwritten(), sums, stop, save, lambda: None, trainer.broken)
        try:
            for phase in stage.phases[counters.phase :]:
                data = PhaseData(phase, stage.seed, scope(phase), inputs.data_root)
                counters = run_phase(run, phase, trainer.stepper(phase, data), counters)
        except StoppedError:
            pass
        except NonFiniteError as error:
            return rows.rows, sums.rows, error.step
    return rows.rows, sums.rows, None


@contextmanager
def planted(kind: str, at: int, draw: random.Random) -> Iterator[list[str]]:
    """One bit of a weight before step `at` of the stage, or of a gradient after its backward pass. Says which."""
    said: list[str] = []
    count = iter(range(1, 10**9))
    gather = replicated.gather

    def flipping(optimizer, objective, step, ranks=ALONE):  # type: ignore[no-untyped-def]
        now, names = next(count) == at, [slot.name for slot in optimizer.slots]
        if now and kind == "weight":
            said.append(flip(draw, [slot.parameter.data for slot in optimizer.slots], names))
        if now and kind == "optimizer state":
            moments = {name: tensor for name, tensor, _ in optimizer.owned() if name not in names}
            said.append(flip(draw, list(moments.values()), list(moments)))
        gradients, values = gather(optimizer, objective, step, ranks)
        if now and kind == "gradient":
            said.append(flip(draw, gradients, [f"{name}{GRADIENT}" for name in names]))
        return gradients, values

    with mock.patch.object(replicated, "gather", flipping):
        yield said


def flip(draw: random.Random, tensors: list[Tensor], names: list[str]) -> str:
    """Flip any bit of any number of any tensor."""
    chosen = draw.randrange(len(tensors))
    flat = tensors[chosen].reshape(-1)
    place, bit = draw.randrange(flat.numel()), draw.randrange(32)
    flat.view(torch.int32)[place] ^= torch.tensor(1 << bit if bit < 31 else -(1 << 31), dtype=torch.int32)
    tensors[chosen].copy_(flat.view_as(tensors[chosen]))
    return f"{names[chosen]} [{place}], bit {bit}"


def flipped_file(stage: Stage, inputs: Inputs, at: int, draw: random.Random, folder: Path) -> tuple[Inputs, Flip]:
    """A copy of the corpora with one bit flipped of a token that step `at` learns, and the first step that reads it."""
    place, step = ledger.step_of(stage.phases, at)
    phase = stage.phases[place]
    clean = PhaseData(phase, stage.seed, scope(phase), inputs.data_root)
    while True:
        (row,) = clean.samples(step.first_sample + draw.randrange(step.sequences), 1, 0)
        learned = np.flatnonzero(row.labels[:-1] != -100) + 1
        if len(learned):
            break
    corpus, document, within = _position(row.spans, int(draw.choice(learned.tolist())))
    shutil.copytree(inputs.data_root / corpus, folder / corpus)
    tokens = read_tokens(folder / corpus / "tokens")
    width, number = tokens.tokens.dtype.itemsize, int(tokens.offsets[document]) + within
    bit, path = draw.randrange(8), folder / corpus / "tokens.bin"
    data = bytearray(path.read_bytes())
    data[number * width] ^= 1 << bit  # the low byte: another id of the same vocabulary
    path.write_bytes(data)
    for other in inputs.data_root.iterdir():
        if other.name != corpus and other.is_dir():
            (folder / other.name).symlink_to(other)
    first = _first(stage, inputs.data_root, folder)
    return replace(inputs, data_root=folder), Flip(
        "data", first, f"{ROWS} {corpus}/tokens.bin, token {number}, bit {bit}"
    )


def _position(spans: tuple[tuple[str, int, int, int], ...], at: int) -> tuple[str, int, int]:
    for corpus, document, start, end in spans:
        if at < end - start:
            return corpus, document, start + at
        at -= end - start
    raise AssertionError("a learned position lies in a span")


def _first(stage: Stage, clean: Path, flipped: Path) -> int:
    """The first step of which a row differs: read by the loader, not by what is tested."""
    before = 0
    for phase in stage.phases:
        both = [PhaseData(phase, stage.seed, scope(phase), root) for root in (clean, flipped)]
        for step in ledger.steps(phase):
            if _differs(step, *both):
                return before + step.index + 1
        before += ledger.count(phase)
    raise AssertionError("no step reads the flipped token")


def _differs(step: Step, one: PhaseData, other: PhaseData) -> bool:
    rows = zip(*(data.samples(step.first_sample, step.sequences, step.tail) for data in (one, other)), strict=True)
    return any(not (np.array_equal(a.tokens, b.tokens) and np.array_equal(a.labels, b.labels)) for a, b in rows)


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
    faulty = replace(known, rows=tuple(rows), result=False, sums=sums)
    with mock.patch.object(replaying.resume, "before", return_value=start):
        found = replaying.replay(stage, inputs, faulty, before + 1, len(rows))
    differing = found.sums or ("",)
    columns = tuple(cell.column for cell in found.cells)
    return Seen(planned, found.step or 0, differing[0], len(differing), columns, stopped=False)


def main(count: int, steps: int | None) -> None:
    root, draw, found = Path.cwd(), random.Random(20261127), list[tuple[str, Seen]]()
    stages = {ref: opened(ref, "mini", None) for ref in REFS}
    with (
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside,
        tempfile.TemporaryDirectory() as kept,
    ):
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
                opened_stage, inputs, known = opened(f"{pipeline}/{name}", "mini", None)
                last = min(most or len(known.rows), len(known.rows))
                _, sums, _ = record(opened_stage, inputs, last)
                again = replaying.replay(opened_stage, inputs, replace(known, sums=sums), 1, last)
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
