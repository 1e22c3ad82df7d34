"""A run of the engine's own loop whose rows and checksums are kept in memory, as a run would record them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.engines import Inputs
from stages.engines.torch_trainer import TorchTrainer
from stages.forensics.recorded import Recorded
from stages.spec.resolved import Stage
from stages.store import live
from stages.train import checkpoint
from stages.train.checkpoint import Counters, Held
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.loop import Run, metric_columns, run_phase
from stages.train.metrics import Unwritten, Value
from stages.train.ranks import ALONE
from stages.train.stopping import NonFiniteError, StoppedError, StopRequest


@dataclass(frozen=True)
class InMemory(Recorded):
    """What is recorded of a stage, with checksums that no folder has, by step."""

    sums: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    def checksums(self, first: int, last: int) -> Mapping[int, Mapping[str, str]]:
        """All of them."""
        return self.sums


def with_sums(known: Recorded, sums: Mapping[int, Mapping[str, str]], **changes: Any) -> InMemory:
    """The same with these checksums, and with other changes."""
    return InMemory(**{**vars(known), **changes, "sums": sums})


class Rows(Unwritten):
    """Stands where metrics.csv does, and keeps its rows as text."""

    def __init__(self, columns: tuple[str, ...], last: int, stop: StopRequest) -> None:
        self.columns, self.rows, self._last, self._stop = columns, list[dict[str, str]](), last, stop

    def add(self, row: Mapping[str, Value]) -> None:
        """Keep a row."""
        self.rows.append({column: live.text(row.get(column, "")) for column in self.columns})
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
