"""Starting the ranks of a stage, on this machine or on the nodes of the Slurm job that it runs in, and judging how they
ended.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.cluster import site, slurm
from stages.cluster.nemo import Nemo
from stages.engines import Inputs, interpreter, local, nodes
from stages.engines.local import Exit
from stages.engines.nodes import CRASHED, Ended, Step
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.store import files, here, json_file
from stages.store.lease import HeldError
from stages.train.stopping import ASKING, PortTakenError, StoppedError

# Exit codes of ranks that got the signal before they could handle it.
ASKED = {-number for number in (*ASKING, signal.SIGINT)}
# Of ranks that may only echo another's end: NCCL's watchdog aborts a rank whose partner has gone.
ECHOES = {CRASHED, -signal.SIGABRT}
# What a rank that was killed by SIGKILL may have lacked.
MEMORY = "(where nobody sent that signal, memory ran out: `dmesg` tells, and `stages plan` says what the stage takes)"
STARTS = 3  # of ranks that could not begin
NO_STEP, PAUSE = "Unable to create step", 15.0  # how srun says that Slurm made none; seconds before it is asked again
HELD = 69  # EX_UNAVAILABLE: another run has the stage's lease
AGAIN = "--again"  # a rank's second argument: the finished result is to be evaluated, and its files revised
FOUND = "--found"  # or it is to be evaluated as the job says, and nothing of it changed; the third is a file for that


@dataclass(frozen=True)
class Advice:
    """What to say of ranks that were ended from outside: where a stop met them, and how the work goes on."""

    stopped: str
    again: str


TRAINING = Advice("stopped before its ranks had met", "run again to resume from the last checkpoint")
EVALUATION = Advice("stopped before its evaluation had ended", "run it again, and the evaluation begins again")


def start(stage: Stage, inputs: Inputs, again: bool = False) -> None:
    """Run a stage in as many processes as it has ranks: in a Slurm job on its nodes, elsewhere on this machine. With
    `again`, its finished result is evaluated by them, and nothing is trained.

    Raises what `launch` raises, SlurmError, and UserError where the ranks cannot be spread evenly over the nodes.
    """
    _start(stage, inputs, [AGAIN] if again else [])


def found(stage: Stage, inputs: Inputs) -> dict[str, Any]:
    """What the stage's ranks find of its finished result, which stays as it is. Raises as `start`."""
    path = _described(inputs).with_suffix(".found.json").resolve()
    try:
        _start(stage, inputs, [FOUND, str(path)])
        return dict(json_file.read(path))
    finally:
        path.unlink(missing_ok=True)


def clear(inputs: Inputs) -> None:
    """Once the stage is finished, remove what killed launchers left for their ranks. Raises WriteError."""
    for path in inputs.layout.run(inputs.key).glob("ranks-*.json"):
        with files.failing(path):
            path.unlink(missing_ok=True)


def _described(inputs: Inputs) -> Path:
    """A file for what ranks must know, where all nodes see it."""
    job = slurm.allocation()
    who = job.job if job else here.process()
    return inputs.layout.run(inputs.key) / f"ranks-{who}.json"


def _start(stage: Stage, inputs: Inputs, words: Sequence[str]) -> None:
    job, ref, execution = slurm.allocation(), stage.ref, stage.execution
    described = _described(inputs)
    under = site.load(inputs.layout.root).nemo if execution.engine == "nemo" else Nemo()
    python = interpreter.command(stage, under, job is not None)
    command = [*python, "-m", "stages.engines.rank", str(described.resolve()), *words]
    advice = EVALUATION if words else TRAINING
    files.write_atomic(described, write_job(stage, inputs).encode())
    try:
        if job is None:
            if execution.nodes > 1:
                print(f"{ref}: not in a Slurm job, so all {execution.ranks} ranks run on this machine")
            launch(command, execution.ranks, ref, under.environment, advice)
        else:
            used = job.nodes[: execution.nodes]
            print(f"{ref}: job {job.job}, {execution.ranks} ranks on {', '.join(used)}")
            step = Step(under.options(interpreter.CODE, inputs.layout.root.resolve()), python, under.environment)
            launch_on(used, command, execution.ranks, execution.threads, ref, job, step, advice)
    finally:
        described.unlink(missing_ok=True)


def launch(
    command: Sequence[str],
    ranks: int,
    title: str,
    environment: Mapping[str, str] | None = None,
    advice: Advice = TRAINING,
) -> None:
    """Run `command` once per rank on this machine and wait for all.

    Raises StoppedError where they stopped on request, HeldError where another run has the lease, and
    UserError where a rank failed: it names the rank that failed first by itself, not those that only lost it.
    """

    def run() -> Ended:
        with local.free_port() as port:
            met = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
            exits, stopped = local.run(command, range(ranks), {**(environment or {}), **met})
        return Ended(exits, [], stopped, silent=False)

    ended = _started(run, title)
    judge(ended.exits, ranks, title, ended.stopped, advice)


def launch_on(
    used: Sequence[str],
    command: Sequence[str],
    ranks: int,
    threads: int,
    title: str,
    job: slurm.Allocation,
    step: Step | None = None,
    advice: Advice = TRAINING,
) -> None:
    """The same on the nodes `used` of a Slurm job; a node that was lost is named."""
    if ranks % len(used):
        raise UserError(
            f"{title}: {ranks} ranks on {len(used)} nodes of job {job.job}; allowed: as many on each. Change "
            "`execution: {ranks, nodes}` in the stage's spec or in specs/scales."
        )
    turn = slurm.turn(job.job)
    ended = _started(lambda: nodes.run(command, ranks, used, threads, job, turn, step or Step()), title)
    if not ended.stopped and len(ended.exits) < ranks and {end.code for end in ended.exits} <= {0, *ECHOES, *ASKED}:
        raise _lost(ended, used, ranks, title, advice)
    judge(ended.exits, ranks, title, ended.stopped, advice)


def _started(run: Callable[[], Ended], title: str) -> Ended:
    """How a run of the ranks ended, the last of up to STARTS: another follows one whose first rank's port was taken, or
    for which Slurm made no step, as where its controller has just been restarted.
    """
    for _ in range(STARTS - 1):
        ended = run()
        words = next((end.words for end in ended.exits if end.code == PortTakenError.exit_code), "")
        refused = "" if ended.exits else next((line for line in ended.printed if NO_STEP in line), "")
        if ended.stopped or not (words or refused):
            return ended
        if words:
            local.say(f"{title}: {words} The ranks are started again, with another port.", sys.stderr)
        else:
            local.say(f"{title}: {refused}. The ranks are started again in {PAUSE:.0f} s.", sys.stderr)
            time.sleep(PAUSE)
    return run()


def judge(ended: Sequence[Exit], ranks: int, title: str, stopped: bool, advice: Advice) -> None:
    """Raise what the exits come to, given in the order in which they were noticed; nothing if all are 0."""
    failed = [end for end in ended if end.code]
    by_code = {end.code: end for end in sorted(failed, key=lambda end: -end.rank)}  # the lowest rank of each
    if StoppedError.exit_code in by_code:
        raise StoppedError(by_code[StoppedError.exit_code].words)
    if HELD in by_code:
        raise HeldError(by_code[HELD].words)
    terminated = not ASKED.isdisjoint(by_code) or (stopped and (failed or len(ended) < ranks))
    if terminated and set(by_code) <= {CRASHED, *ASKED}:
        raise StoppedError(f"{title}: {advice.stopped}; run it again.")
    if failed:
        raise _failed(failed, ranks, title, advice)


def _failed(failed: Sequence[Exit], ranks: int, title: str, advice: Advice) -> UserError:
    own = [end for end in failed if end.code not in ECHOES]
    killed = [end for end in own if end.code < 0]
    first = [*killed, *own, *(end for end in failed if end.code != CRASHED), *failed][0]
    who = f"{title}: rank {first.rank} of {ranks}" + (f" on {first.node}" if first.node else "")
    if first.code < 0:
        how = f"was killed by {signal.Signals(-first.code).name}; {advice.again}"
        memory = f" {MEMORY}" if first.code == -signal.SIGKILL else ""
        return UserError(f"{who} {how}. It printed last: {first.words or 'nothing'}{memory}")
    return UserError(f"{who} failed (exit code {first.code}): {first.words}")


def _lost(step: Ended, used: Sequence[str], ranks: int, title: str, advice: Advice) -> UserError:
    """Ranks whose end was not reported: their node is gone, or Slurm did not start them."""
    known, each = {end.rank for end in step.exits}, ranks // len(used)
    silent = [node for i, node in enumerate(used) if not known.issuperset(range(i * each, (i + 1) * each))]
    reason = next(
        (line for line in step.printed if "error" in line), (step.printed or ["srun ended without a word"])[-1]
    )
    how = "no answer" if step.silent else reason
    words = f"{title}: lost the ranks on {', '.join(silent)} ({how}); {advice.again}."
    return slurm.SilentNodeError(words, silent) if step.silent else UserError(words)


@dataclass(frozen=True)
class _Job:
    """What a rank must know."""

    stage: Stage
    inputs: Inputs


_JOB = TypeAdapter(_Job)


def write_job(stage: Stage, inputs: Inputs) -> str:
    """What a rank must know, as JSON, with paths from the root: ranks may be started elsewhere."""
    absolute = replace(
        inputs,
        layout=replace(inputs.layout, root=inputs.layout.root.resolve()),
        data_root=inputs.data_root.resolve(),
        releases={name: folder.resolve() for name, folder in inputs.releases.items()},
    )
    return _JOB.dump_json(_Job(stage, absolute)).decode()


def read_job(text: str) -> tuple[Stage, Inputs]:
    """The inverse of `write_job`."""
    job = _JOB.validate_json(text)
    return job.stage, job.inputs
