"""The training loop: one phase, step by step, exactly to its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from stages.contract import ledger, numbers, schedule, spikes
from stages.contract.ledger import Step
from stages.contract.spikes import Skips
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train import finite, metrics, objectives
from stages.train.checkpoint import Counters
from stages.train.metrics import Table, Value
from stages.train.progress import Note, watching
from stages.train.ranks import ALONE, Ranks
from stages.train.stepper import Stepper
from stages.train.stopping import NonFiniteError, StoppedError, StopRequest

SKIPPED = "skipped"  # metric column: 1 where a step moved nothing because its norm stood out


@dataclass
class Run:
    """What stays the same over the phases of a stage."""

    stage: Stage
    metrics: Table
    timing: Table
    checksums: Table
    stop: StopRequest
    checkpoint: Callable[[Counters, bool], Path | None]  # all ranks call it; the first writes; whether to wait for it
    last_checkpoint: Callable[[], Path | None]
    broken: Callable[[], list[str]]  # names of what is not finite of what a checkpoint contains; all ranks call it
    ranks: Ranks = ALONE  # only the first writes metrics, checkpoints and progress
    note: Note | None = None
    taken: Callable[[], None] = lambda: None  # called once a step is trained on: what it read counts from now on
    check: Callable[[], None] = lambda: None  # raises what a checkpoint that is written meanwhile has raised
    before_update: Callable[[], None] = lambda: None  # what a checkpoint contains is about to change
    keep: Mapping[int, Callable[[Counters], None]] = field(default_factory=dict)  # by steps: a branch starts there

    @property
    def ref(self) -> str:
        """The stage as people write it."""
        return self.stage.ref


@dataclass(frozen=True)
class Outcome:
    """What a step computed; `extras` in the order of the stepper's columns."""

    loss: float
    grad_norm: float
    extras: list[float]
    skips: Skips | None  # what the rule of skipping goes by after it, where there is one
    skipped: bool


def run_phase(run: Run, phase: Phase, stepper: Stepper, counters: Counters) -> Counters:
    """Train from `counters` to the end of the phase; return the counters as the next phase finds them.

    Raises NonFiniteError, before the optimizer moves anything or, where a checkpoint or the phase's end follows, after
    an update that overflowed, and StoppedError after a checkpoint.
    """
    steps = ledger.count(phase)
    with closing(stepper), watching(f"{run.ref} {phase.name}", counters.phase_steps, steps) as progress:
        while counters.phase_consumed < phase.budget:
            began = time.perf_counter()
            step = ledger.step_at(phase, counters.phase_consumed)
            clock = phase.clock_start + step.end
            lr = learning_rate(run.stage, clock)
            outcome = train_step(run, phase, stepper, step, counters, lr)
            run.taken()
            counters = Counters(
                phase=counters.phase,
                phase_steps=step.index + 1,
                phase_consumed=step.end,
                steps=counters.steps + 1,
                consumed=counters.consumed + step.end - step.start,
                clock=clock,
                skips=outcome.skips,
            )
            seconds = time.perf_counter() - began
            if run.ranks.first:
                record(run, phase, stepper, counters, lr, outcome, seconds, step.end - step.start)
                progress.step(step.end - step.start, outcome.loss, lr)
                if run.note is not None:
                    run.note.step(phase.name, counters.steps, seconds)
            run.check()
            requested = run.ranks.any(run.stop.requested)
            at_end = counters.phase_consumed == phase.budget
            due = not at_end and counters.steps % run.stage.execution.checkpoint_every == 0
            keep = run.keep.get(counters.steps)
            if (requested or due or at_end or keep) and (broken := run.broken()):
                raise _overflowed(run, phase, counters, lr, broken)
            if keep is not None:
                keep(counters)
            if requested or due:
                place = run.checkpoint(counters, requested)
                kept = "the first rank says where" if place is None else f"resumable from {place}"
                if requested:
                    run.ranks.barrier()  # no rank leaves before the checkpoint is whole
                    raise StoppedError(f"{run.ref}: stopped after step {counters.steps}, {kept}.")
    return replace(counters, phase=counters.phase + 1, phase_steps=0, phase_consumed=0)


def metric_columns(stage: Stage) -> tuple[str, ...]:
    """The columns of a stage's metrics.csv, in their order: what `record` writes under all its phases."""
    rule = (SKIPPED,) if stage.optimizer is not None and stage.optimizer.skip is not None else ()
    return (*metrics.COMMON, *rule, *numbers.scheduled(stage), *objectives.extras(stage))


def learning_rate(stage: Stage, clock: int) -> float:
    """The LR of a step that ends at `clock`: the schedule's value, and no other."""
    if stage.schedule is None:
        raise ValueError(f"{stage.ref} has phases but no schedule")
    return schedule.lr(stage.schedule, clock)


def train_step(run: Run, phase: Phase, stepper: Stepper, step: Step, counters: Counters, lr: float) -> Outcome:
    """One optimizer step: gradients of the whole step, finite check, update."""
    loss, grad_norm, *extras = stepper.gradients(step)
    if not all(map(math.isfinite, (loss, grad_norm, *extras))):
        raise _non_finite(run, phase, counters, step, loss, grad_norm, dict(zip(stepper.extras, extras, strict=True)))
    skips, skipped = _skipped(run, counters, grad_norm)
    if not skipped:
        run.before_update()
        stepper.update(lr, phase.clock_start + step.end)
    return Outcome(loss, grad_norm, extras, skips, skipped)


def _skipped(run: Run, counters: Counters, norm: float) -> tuple[Skips | None, bool]:
    """What the stage's optimizer goes by after a step with such a norm, and whether it skips it.

    All ranks skip where one does: on other machines the last bits of the norm, and of those before it, may differ.
    """
    rule = None if run.stage.optimizer is None else run.stage.optimizer.skip
    if rule is None:
        return None, False
    known = counters.skips or Skips()
    skipped = run.ranks.any(spikes.spike(known.norms, norm, rule))
    return known.after(norm, skipped, rule), skipped


def record(
    run: Run,
    phase: Phase,
    stepper: Stepper,
    counters: Counters,
    lr: float,
    outcome: Outcome,
    seconds: float,
    units: int,
) -> None:
    """One row in metrics.csv, timing.csv and, where they are taken, checksums.csv.

    The first goes into live.csv too, which does not wait for a checkpoint.
    """
    row: dict[str, Value] = {
        "phase": phase.name,
        "step": counters.steps,
        "tokens": counters.consumed,
        "clock": counters.clock,
        "lr": lr,
        "loss": outcome.loss,
        "grad_norm": outcome.grad_norm,
        "supervised": stepper.supervised(),
    }
    if outcome.skips is not None:
        row[SKIPPED] = int(outcome.skipped)
    row |= numbers.at(run.stage, phase, counters.clock)
    row |= dict(zip(stepper.extras, outcome.extras, strict=True))
    if sums := stepper.checksums():
        run.checksums.add({"step": counters.steps, **sums})
    run.metrics.add(row)
    if run.note is not None:
        run.note.row(run.metrics.columns, row, seconds)
    rate = units / seconds
    run.timing.add({"phase": phase.name, "step": counters.steps, "seconds": seconds, "tokens_per_second": rate})


def _non_finite(
    run: Run, phase: Phase, counters: Counters, step: Step, loss: float, norm: float, extras: Mapping[str, float]
) -> NonFiniteError:
    what = f"loss is {loss}" if not math.isfinite(loss) else f"loss is {loss}, but the gradient's norm is {norm}"
    if math.isfinite(loss) and math.isfinite(norm):
        what = f"loss is {loss}, but {', '.join(finite.broken_numbers(extras))}"
    good = run.last_checkpoint()
    number = counters.steps + 1
    return NonFiniteError(
        f"{run.ref}, phase {phase.name}: step {number} ({phase.unit} {step.start} to {step.end} of the phase): {what}. "
        f"Nothing was updated by this step. Last good checkpoint: {good if good else 'none'}. A rerun meets the same "
        f"numbers again: lower the learning rate or the gradient clip, or look at the samples from "
        f"{step.first_sample} to {step.first_sample + step.sequences - 1}: "
        f"`stages batch {run.ref} --step {number} --scale {run.stage.scale}` has their documents.",
        number,
    )


def _overflowed(run: Run, phase: Phase, counters: Counters, lr: float, broken: list[str]) -> NonFiniteError:
    good = run.last_checkpoint()
    return NonFiniteError(
        f"{run.ref}, phase {phase.name}: the update of step {counters.steps} overflowed: {len(broken)} tensors are not "
        f"finite, among them {finite.first_names(broken)}. Last good checkpoint: {good if good else 'none'}. A rerun "
        f"meets the same numbers again: lower the learning rate, which is {lr:g} at this step (clock "
        f"{counters.clock:,}).",
        counters.steps,
    )
