"""A training stage from what it receives to what it leaves: resume, phases, checkpoints, evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from stages import evals
from stages.contract import ledger
from stages.data.loading.loader import PhaseData
from stages.data.loading.readers import scope
from stages.engines import Inputs, evaluation, last_pass, looping, made_by, place, readback, results, resume
from stages.engines.trainer import Checkpoints, Tables, Trainer, exhaust
from stages.evals.heldout import Heldout
from stages.guards import reads
from stages.guards import run as guards
from stages.guards.reads import Reads
from stages.printable import printable
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import both_answers
from stages.store import attempts, evaluated, files, json_file, partials
from stages.train import checkpoint, metrics
from stages.train.checkpoint import Counters
from stages.train.loop import Run, metric_columns, run_phase
from stages.train.metrics import Table, Unwritten
from stages.train.progress import Note
from stages.train.ranks import Ranks
from stages.train.stopping import StopRequest


class Training:
    """One attempt at a training stage, as one of its ranks sees it: only the first has the attempt and writes."""

    def __init__(
        self,
        stage: Stage,
        inputs: Inputs,
        attempt: attempts.Attempt | None,
        stop: StopRequest,
        ranks: Ranks,
        make: Callable[[Stage, Inputs, Ranks], Trainer],
    ) -> None:
        self.stage, self.inputs, self.stop, self.ranks = stage, inputs, stop, ranks
        self._attempt, self._make = attempt, make
        self.made_by = made_by.here(ranks, stage.execution.engine)
        self.machine = place.machine(ranks, stage.execution.engine)
        self.promised = results.promise(stage, inputs).at_most(made_by.tier(self.made_by))
        self.heldout = Heldout(inputs.data_root)
        self.reads = Reads(readback.lineage(stage, inputs))
        self.seconds: dict[str, dict[str, float]] = {"evaluated_before": {}, "evaluated_after": {}, "checkpoints": {}}
        self._data: PhaseData | None = None  # of the phase that is trained
        self.read_frozen: dict[str, str] = {}  # digests of models that are read besides those that are trained
        self.peaks: list[float] = []  # MB of each rank's memory while it trained

    def run(self) -> None:
        """Train to the end and put the result in place."""
        if self.ranks.first:
            for line in made_by.of_parents(self.stage, self.inputs, self.made_by):
                print(printable(line))
        trainer = self._make(self.stage, self.inputs, self.ranks)
        before = self._evaluate_before(trainer)
        trainer.begin()
        report = trainer.built()
        if report is not None:
            guards.check_start(self.stage, report)
            self.read_frozen = readback.read_frozen(report)
        counters = self._train(trainer)
        self._refuse_changed_tables()
        shapes, state = trainer.state()
        if self.ranks.first:
            results.write_state(shapes, counters, self.attempt.result, state)
        else:
            exhaust(state)
        self.peaks = results.peaks_mb(self.stage, self.ranks)
        modules, beside = trainer.trained(), trainer.read_frozen()
        pair = trainer.pair(self._last_rows()) if self.stage.read_frozen else None
        if report is not None and modules is not None:
            done = readback.done(self.stage, modules, counters, self.reads, report, self.attempt.result, beside, pair)
            guards.check_end(self.stage, done)
        after = self._evaluate_after(trainer, modules, counters)
        if modules is not None:
            self._finish(modules, counters, {"before": before, "after": after})

    @property
    def attempt(self) -> attempts.Attempt:
        """The attempt, for the rank that has it."""
        if self._attempt is None:
            raise AssertionError(f"rank {self.ranks.rank} does not write")
        return self._attempt

    def _finish(self, modules: nn.ModuleDict, counters: Counters, found: evaluation.Numbers) -> None:
        self._refuse_changed_data()
        loops, folder = looping.loops(self.stage, self.inputs), self.attempt.result
        results.write_model(self.stage, modules, loops, folder)
        results.check_config(self.stage, folder)
        reads.write_lineage(folder / "state" / reads.FILE, self.reads.handed_on())
        evaluation.write(folder, self.stage, found)
        course = results.Course(
            self.seconds, self.peaks, made_by.listed(self.made_by), self.reads.tokens(), self.read_frozen
        )
        results.complete(self.stage, self.inputs, self.attempt, counters, None, self.machine, self.promised, course)

    def _train(self, trainer: Trainer) -> Counters:
        counters, start = Counters(0, 0, 0, 0, 0, self.stage.phases[0].clock_start), self._agreed_start()
        if start is not None:
            counters = trainer.load(start)
            self.reads.load(start / reads.FILE, counters.phase)
            self._take_over(start)
        self.ranks.barrier()  # no rank writes, or clears away checkpoints, before all have read
        if not self.ranks.first:
            return self._phases(trainer, counters, {}, None)
        with self._tables(trainer, start) as tables, trainer.checkpoints(self.attempt, tables, self._beside) as written:
            self.seconds["checkpoints"] = written.seconds
            return self._phases(trainer, counters, tables, written)

    @contextmanager
    def _tables(self, trainer: Trainer, start: Path | None) -> Iterator[Tables]:
        """The tables of the attempt, which go on from those of a checkpoint."""
        columns = {
            checkpoint.METRICS: metric_columns(self.stage),
            checkpoint.TIMING: metrics.TIMING,
            checkpoint.CHECKSUMS: trainer.checksum_columns(),
        }
        folder = self.attempt.result
        with ExitStack() as stack:
            tables = {}
            for name, wanted in columns.items():
                if wanted:
                    before = None if start is None else start / name
                    if before is not None and name == checkpoint.CHECKSUMS and not before.is_file():
                        before = None  # a checkpoint of before there were checksums: later steps have them
                    tables[name] = stack.enter_context(Table(folder / name, wanted, before))
            yield tables

    def _take_over(self, start: Path) -> None:
        """No more is promised than what the checkpoint promises, nor than what made its steps and these together."""
        earlier = made_by.of(start)
        if self.ranks.first and (difference := made_by.difference(earlier, self.made_by)):
            print(printable(f"{self.stage.ref}: {difference}"))
        self.made_by |= earlier
        self.promised = self.promised.at_most(resume.tier_of(start), made_by.tier(self.made_by))

    def _phases(self, trainer: Trainer, counters: Counters, tables: Tables, written: Checkpoints | None) -> Counters:
        stage = self.stage

        def save(counters: Counters, wait: bool) -> Path | None:
            self._refuse_changed_data()
            if written is None:
                trainer.join_checkpoint()
                return None
            folder = partials.path(self.attempt, counters.steps)
            written.save(folder, counters, wait, lambda: partials.prune(self.attempt, stage.execution.keep_partials))
            return folder

        def latest() -> Path | None:
            if written is not None:
                written.settle()
            return partials.latest(self.inputs.layout, self.inputs.key, self.inputs.parents)

        def keep(counters: Counters) -> None:
            self._checkpoint_for(self.inputs.kept[counters.steps], trainer, counters, written)

        names = checkpoint.METRICS, checkpoint.TIMING, checkpoint.CHECKSUMS
        rows, timing, sums = (tables.get(name) or Unwritten() for name in names)
        run = Run(
            stage, rows, timing, sums, self.stop, save, latest, trainer.broken, self.ranks, taken=self.reads.taken,
            keep=dict.fromkeys(self.inputs.kept, keep),
        )  # fmt: skip
        if written is None:
            return self._phase_by_phase(run, trainer, counters, None)
        with Note(self.attempt, sum(map(ledger.count, stage.phases))) as run.note:
            run.check, run.before_update = written.check, written.before_update
            return self._phase_by_phase(run, trainer, counters, written)

    def _phase_by_phase(self, run: Run, trainer: Trainer, counters: Counters, written: Checkpoints | None) -> Counters:
        stage = self.stage
        for number in range(counters.phase, len(stage.phases)):
            phase = stage.phases[number]
            self._data = data = PhaseData(phase, stage.seed, scope(phase), self.inputs.data_root)
            for corpus, documents in data.left_out.items() if self.ranks.first else ():
                longer = f"longer than {phase.context}, left out{both_answers(phase.objective)}"
                print(f"{phase.name}: {documents} documents of {corpus} are {longer}")
            watched = self.reads.watch(phase, data, self.inputs.data_root) if self.ranks.first else data
            counters = run_phase(run, phase, trainer.stepper(phase, watched), counters)
            if number + 1 < len(stage.phases):
                self._checkpoint_for(self.inputs.phase_keys[number], trainer, counters, written)
        return counters

    def _checkpoint_for(self, key: str, trainer: Trainer, counters: Counters, written: Checkpoints | None) -> None:
        """The end of the phase of that key, for all that begin as this stage does, in place when this returns."""
        self._refuse_changed_data()
        end = self.inputs.layout.phase_end(key)
        trainer.join_checkpoint() if written is None else written.save(end, counters, wait=True)

    def _refuse_changed_data(self) -> None:
        """Nothing is kept of steps whose data has been written to: raises UserError, before a checkpoint or result."""
        self.heldout.refuse_changed()
        if self._data is not None:
            self._data.refuse_changed()

    def _refuse_changed_tables(self) -> None:
        """What the first rank wrote of the steps is what it meant: raises UserError, while there are checkpoints."""
        if not self.ranks.first:
            return
        folder = self.attempt.result
        for path in (folder / name for name in (checkpoint.METRICS, checkpoint.TIMING, checkpoint.CHECKSUMS)):
            if (written := self.attempt.written.get(path)) is not None:
                files.refuse_changed(path, written)

    def _beside(self) -> Callable[[Path], None]:
        """Record what a checkpoint says besides the state; returns what writes it into the checkpoint's folder."""
        parents, tier, makers, kept = resume.parents(self.inputs), self.promised.tier, self.made_by, self.reads.kept()

        def write(folder: Path) -> None:
            json_file.write(folder / resume.PARENTS, parents)
            json_file.write(folder / resume.TIER, tier)
            made_by.save(folder, makers)
            kept(folder / reads.FILE)

        return write

    def _agreed_start(self) -> Path | None:
        """Where the first rank resumes: the others must not look for themselves, since it writes."""
        own = resume.checkpoint(self.stage, self.inputs) if self.ranks.first else None
        agreed = self.ranks.broadcast("" if own is None else str(own))
        return Path(agreed) if agreed else None

    def _evaluate_before(self, trainer: Trainer) -> dict[str, Any]:
        """Evaluate the model as received, under its parent's RoPE: once, whatever number of attempts it takes.

        The first rank knows what an earlier attempt found; the others have no use for it.
        """
        parents, wanted = resume.parents(self.inputs), evaluated.requested(self.stage).plain()
        requested = {"evaluation": wanted, "parents": parents, "key": self.inputs.key}
        known = resume.evaluated(self.inputs, requested) if self.ranks.first else None
        model = trainer.evaluated()
        if self.ranks.any(known is not None) or model is None:
            return known or {}
        seconds = self.seconds["evaluated_before"]
        result = evaluation.before(self.stage, self.inputs, model, self.heldout, seconds)
        if self.ranks.first:
            resume.keep_evaluated(self.attempt, requested, result)
        return result

    def _last_rows(self) -> PhaseData:
        """The last phase's rows once more, of which no read is counted."""
        last = self.stage.phases[-1]
        return PhaseData(last, self.stage.seed, scope(last), self.inputs.data_root)

    def _evaluate_after(self, trainer: Trainer, modules: nn.ModuleDict | None, counters: Counters) -> dict[str, Any]:
        """Compute with what training left; `modules` are the first rank's, which looks at the weights themselves."""
        rows = self._last_rows()
        self.ranks.barrier()  # where the first has refused what it gathered, the others are not inside a collective
        last_pass.check(self.stage, modules, partial(trainer.last_loss, rows), counters.steps)
        if (model := trainer.evaluated()) is None:
            return {}
        after = evals.run(model, self.stage, self.heldout, seconds=self.seconds["evaluated_after"])
        results.check_evaluations(self.stage, after, "after training", counters.steps)
        return after
