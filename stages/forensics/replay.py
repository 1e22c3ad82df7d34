"""Recorded steps computed again, by the engine's own loop, and compared bit by bit. Nothing is written.

Equal: the machine computed what recipe and data say, so what is odd about these steps is in recipe or data. Different:
the same recipe on the same data gave other numbers, so one of the two computations is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.contract import ledger
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.engines import Inputs, place, resume
from stages.engines.torch_trainer import TorchTrainer
from stages.errors import UserError
from stages.forensics.recorded import Recorded
from stages.models import hf_files
from stages.models.hf_names import to_hf
from stages.models.tensor_file import Stored, raw
from stages.spec.resolved import Stage
from stages.store import fingerprint, live, manifest
from stages.store.run_record import MadeBy
from stages.train.checkpoint import OPTIMIZER, Counters
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.loop import Run, metric_columns, run_phase
from stages.train.metrics import Unwritten, Value
from stages.train.ranks import Ranks, joined
from stages.train.stopping import NonFiniteError, StoppedError, StopRequest, stop_when_asked


@dataclass(frozen=True)
class Cell:
    """A number of metrics.csv that was recorded, and computed again."""

    column: str
    recorded: str
    computed: str


@dataclass(frozen=True)
class Replayed:
    """Steps `first` to `last` of the stage were computed again; `start` is the checkpoint, None for the hand-over.

    `step` is the first step that differs: `sums` are those of its checksums that do, in the order in which a step uses
    what they are of, None where it has none, and `cells` the numbers. `summed` is how many steps have checksums.
    `tensors` are those of the finished result that differ, None where the last step was not reached.
    """

    start: Path | None
    first: int
    last: int
    step: int | None
    sums: tuple[str, ...] | None
    cells: tuple[Cell, ...]
    summed: int
    tensors: tuple[str, ...] | None

    @property
    def equal(self) -> bool:
        """Whether every bit that could be compared is the same."""
        return self.step is None and not self.tensors


def replay(stage: Stage, inputs: Inputs, recorded: Recorded, first: int, last: int) -> Replayed:
    """Compute steps up to `last` again, from the checkpoint before `first`, or from what the parents hand over.

    Ends at the first step that differs. Raises UserError where this environment is not the one that computed the
    steps, or promises no equal bits.
    """
    refuse(stage, recorded.tier)
    with deterministic(stage.execution), denormals_flushed(), stop_when_asked() as stop, _alone(stage) as ranks:
        refuse_elsewhere(stage, recorded.makers, ranks.device)
        start = resume.before(stage, inputs, first)
        trainer = TorchTrainer(stage, inputs, ranks)
        trainer.begin()
        counters = Counters(0, 0, 0, 0, 0, stage.phases[0].clock_start)
        if start is not None:
            counters = trainer.load(start)
        began = counters.steps + 1
        compared = _Compared(metric_columns(stage), recorded, (began, last), stop)
        _train(stage, inputs, trainer, counters, compared, ranks)
        if compared.step is None and not compared.at_last:
            raise StoppedError(f"{stage.ref}: the replay was stopped; nothing was written.")
        ended = recorded.result and compared.reached == sum(map(ledger.count, stage.phases))
        tensors = differing(trainer.trained(), trainer.state(), recorded.folder) if ended else None
        return Replayed(
            start, began, compared.reached, compared.step, compared.found, compared.cells, compared.sums.summed, tensors
        )


class _Compared(Unwritten):
    """Stands where metrics.csv does: compares each row with the recorded one, and asks for the end."""

    def __init__(self, columns: tuple[str, ...], recorded: Recorded, steps: tuple[int, int], stop: StopRequest) -> None:
        self.columns, self._recorded, self._last, self.stop = columns, recorded, steps[1], stop
        self.sums = _ComparedSums(recorded.checksums(*steps))
        self.step: int | None = None
        self.reached = 0
        self.cells: tuple[Cell, ...] = ()
        self.found: tuple[str, ...] | None = None

    @property
    def at_last(self) -> bool:
        """Whether the last step that was requested has been computed."""
        return self.reached >= self._last

    def add(self, row: Mapping[str, Value]) -> None:
        """Compare a step."""
        self.reached = int(row["step"])
        known = self._recorded.row(self.reached)
        now = {column: live.text(row.get(column, "")) for column in self.columns}
        cells = tuple(
            Cell(name, known.get(name, ""), now.get(name, ""))
            for name in dict.fromkeys([*known, *now])
            if known.get(name, "") != now.get(name, "") and name != "phase"  # a name, and in no key
        )
        sums = self.sums.of(self.reached)
        if (sums or cells) and self.step is None:
            self.step, self.cells, self.found = self.reached, cells, sums
        if sums or cells or self.at_last:
            self.stop.ask()

    def failed(self, step: int) -> None:
        """A step that computed what is no number, where numbers are recorded."""
        self.step = self.reached = step
        self.cells = (Cell("loss", self._recorded.row(step)["loss"], "not finite"),)


class _ComparedSums(Unwritten):
    """Stands where checksums.csv does: compares each step's with the recorded ones."""

    def __init__(self, recorded: Mapping[int, Mapping[str, str]]) -> None:
        self.columns, self._recorded, self.summed = (), recorded, 0
        self._last: tuple[int, tuple[str, ...]] = (0, ())

    def add(self, row: Mapping[str, Value]) -> None:
        """Compare a step, whose row comes before that in metrics.csv. Names that only one has are passed over."""
        step = int(row["step"])
        known = self._recorded.get(step)
        if known is not None:
            self.summed += 1
            differing = (name for name, now in row.items() if name != "step" and known.get(name, now) != now)
            self._last = step, tuple(differing)

    def of(self, step: int) -> tuple[str, ...] | None:
        """Names of the checksums of this step that differ; None where it has none to compare."""
        return self._last[1] if self._last[0] == step else None


def _train(
    stage: Stage, inputs: Inputs, trainer: TorchTrainer, counters: Counters, compared: _Compared, ranks: Ranks
) -> None:
    """Run the engine's loop until the comparison asks for its end."""
    stop = compared.stop
    run = Run(
        stage, compared, Unwritten(), compared.sums, stop, lambda counters, wait: None, lambda: None, trainer.broken,
        ranks,
    )  # fmt: skip
    try:
        for number in range(counters.phase, len(stage.phases)):
            phase = stage.phases[number]
            data = PhaseData(phase, stage.seed, scope(phase), inputs.data_root)
            counters = run_phase(run, phase, trainer.stepper(phase, data), counters)
    except StoppedError:
        return
    except NonFiniteError as error:
        compared.failed(error.step or compared.reached)


def differing(
    modules: nn.ModuleDict | None, optimizer: tuple[Collection[str], Iterable[tuple[str, Tensor]]], folder: Path
) -> tuple[str, ...]:
    """Tensors of the finished result, weights and optimizer state, that are not those computed now.

    `optimizer`: the names of its state, and these with their tensors.
    """
    found: list[str] = []
    for name, module in (modules or nn.ModuleDict()).items():
        now = to_hf(module.state_dict())
        found += [f"{name}.{one}" for one in _unequal(now, Stored(hf_files.tensors(manifest.weights(folder, name))))]
    names, state = optimizer
    path = folder / "state" / OPTIMIZER
    if names or path.is_file():
        found += _unequal(dict(state), Stored.of(path) if path.is_file() else {})
    return tuple(found)


def _unequal(now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> Iterator[str]:
    for name in sorted({*now, *then}):
        if name not in now or name not in then or not torch.equal(raw(now[name].cpu()), raw(then[name])):
            yield name


@contextmanager
def _alone(stage: Stage) -> Iterator[Ranks]:
    """One process, whatever number of ranks the stage ran with: any power of two computes the same bits."""
    here = place.of(stage)
    with joined(1, here.device, here.backend) as ranks:
        yield ranks


def refuse(stage: Stage, tier: str) -> None:
    """Raise UserError for a tier in which two computations need not have the same bits."""
    ref = stage.ref
    if tier != "bit-exact" or stage.execution.engine != "torch":
        raise UserError(
            f"{ref}: found tier {tier} and the {stage.execution.engine} engine; allowed: tier bit-exact "
            "and the torch engine. In any other tier what is computed again may differ by rounding, which shows "
            "nothing; `stages compare` says how far two runs agree."
        )


def refuse_elsewhere(stage: Stage, makers: Sequence[MadeBy], device: torch.device) -> None:
    """Raise UserError where this environment is not the one that made a result or its steps."""
    here = place.environment(device, stage.execution.engine)
    others = sorted({maker.described for maker in makers if maker.environment != here["id"]})
    if others:
        raise UserError(
            f"{stage.ref}: it was computed in the environment {', '.join(others)}, this is "
            f"{fingerprint.described(here)}; allowed: the same. Between environments only a statistical agreement is "
            "promised, so a difference would show nothing. `environment` in run.json says what it was: replay it there."
        )
