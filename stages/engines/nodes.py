"""The ranks of a stage on the nodes of a Slurm job: one step, in which `stages.engines.node` runs once on each node.

A step of its own, also on one node: when a job is cancelled, preempted or out of time, its batch script dies at once,
and what it has started may die with it; the processes of a step get SIGTERM and as long as the cluster's KillWait.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from stages.cluster import slurm
from stages.engines import local
from stages.engines.local import Exit
from stages.errors import UserError
from stages.train.stopping import LostRankError

EXIT = "@exit "  # how a node's line with a rank's exit begins; what ranks print begins with their name
CRASHED = LostRankError.exit_code  # also of a rank that left with a traceback, which may only echo another rank's end
ANSWER = 10.0  # seconds in which a node that is there has ended its ranks and reported it
PATIENCE = 60.0  # seconds that a step which we end has for ending
# What a step inherits of the job; the rest describes the batch script, and would be taken for requests of the step.
KEPT = ("SLURM_CONF", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME")


@dataclass(frozen=True)
class Ended:
    """How a step ended: the ranks' exits in the order in which they were noticed, and what srun itself printed.

    `stopped` is whether a stop was requested; `silent` whether some nodes gave no answer when others' ranks had failed,
    and Slurm had not noticed them yet.
    """

    exits: list[Exit]
    printed: list[str]
    stopped: bool
    silent: bool


@dataclass(frozen=True)
class Step:
    """In what the step runs: more options of srun, such as a container's, the interpreter of its agents, variables.

    Without a container, agents run under this interpreter, whatever ranks run under.
    """

    options: Sequence[str] = ()
    python: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def agent(self) -> list[str]:
        """What runs this project's code for an agent."""
        return list(self.python) if self.options else [sys.executable]


def run(
    command: Sequence[str], ranks: int, nodes: Sequence[str], threads: int, job: slurm.Allocation, turn: int, step: Step
) -> Ended:
    """Run `command` once per rank, spread evenly over `nodes`, and wait for all.

    What asks for a stop is passed on to the step as SIGTERM. `turn` is the job's.
    Raises SlurmError, and UserError where this is not the first of several nodes.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SRUN_"))}
    environment |= {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {**step.environment, "MASTER_ADDR": meeting(nodes, job), "WORLD_SIZE": str(ranks)}
    local_ranks = ranks // len(nodes)
    agent = [*step.options, *step.agent, "-m", "stages.engines.node", str(local_ranks), *command]
    pipe = subprocess.PIPE
    with local.free_port() as port, local.passing_on(lambda: _ask_to_stop(job.job, turn)) as stops:
        environment["MASTER_PORT"] = str(port)
        if turn % 2:
            _use_up_a_number(nodes, environment)
        srun = subprocess.Popen(
            [*srun_command(nodes, local_ranks * threads), *agent],
            env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace",
        )  # fmt: skip
        exits: queue.Queue[Exit | None] = queue.Queue()
        printed: list[str] = []
        over = threading.Event()
        listeners = [
            threading.Thread(target=_hear_ranks, args=(srun, exits, over), daemon=True),
            threading.Thread(target=_hear_srun, args=(srun, printed), daemon=True),
        ]
        for listener in listeners:
            listener.start()
        ended: list[Exit] = []
        try:
            ended = local.wait(exits, ranks)
            if len(ended) < ranks:
                _end_ranks(srun)
                ended += local.wait(exits, ranks - len(ended), limit=ANSWER)
            silent = len(ended) < ranks and not over.is_set()
        finally:
            _end(srun, at_once=len(ended) < ranks)
            for listener in listeners:
                listener.join()
    return Ended(ended, printed, bool(stops), silent or any("node failure" in line.lower() for line in printed))


def srun_command(nodes: Sequence[str], cpus: int) -> list[str]:
    """One task on each of `nodes`, with `cpus` CPUs and everything else that the job has there."""
    return [
        "srun",
        f"--nodelist={','.join(nodes)}",
        f"--nodes={len(nodes)}",
        f"--ntasks={len(nodes)}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cpus}",
        "--mem=0",  # all that the job has
        "--overlap",  # the batch script waits meanwhile
        "--kill-on-bad-exit=1",
        "--wait=0",  # the first rank evaluates when the others have gone
        "--mpi=none",
        "--export=ALL",
    ]


def meeting(nodes: Sequence[str], job: slurm.Allocation) -> str:
    """Where ranks meet: the address of the first node, on which the first rank will be.

    Raises UserError where this process runs elsewhere, and so cannot know which of that node's ports is free, and
    SlurmError.
    """
    if len(nodes) == 1:
        return "127.0.0.1"
    if job.here != nodes[0]:
        raise UserError(
            f"job {job.job}: this is {job.here or 'none of its nodes'}; ranks on several nodes are started from the "
            f"first, {nodes[0]}. Start this in a batch script, or within `srun --pty --overlap -w {nodes[0]} bash`."
        )
    return slurm.address(nodes[0])


def report(end: Exit) -> str:
    """A rank's exit as a line of its node."""
    return EXIT + json.dumps(
        {"rank": end.rank, "node": end.node, "code": end.code, "words": end.words}, allow_nan=False
    )


def _end_ranks(srun: subprocess.Popen[str]) -> None:
    """Have every node that still answers end its ranks and report them: srun hands its standard input to all."""
    assert srun.stdin is not None
    with suppress(OSError):
        srun.stdin.write("end\n")
        srun.stdin.flush()


def _use_up_a_number(nodes: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run an empty step, so that this turn's step has another number than the last turn's: the next one.

    Slurm counts a job's steps again in each turn. An srun that was left behind on a frozen node cancels, when it wakes,
    the step of its number, which would be this turn's (slurm_step_launch_wait_finish in Slurm's src/api/step_launch.c).
    """
    empty = ["srun", f"--nodelist={nodes[0]}", "--nodes=1", "--ntasks=1", "--overlap", "--mpi=none", "true"]
    subprocess.run(empty, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _ask_to_stop(job: str, turn: int) -> None:
    """Pass SIGTERM on. srun itself would end the step at once; Slurm refuses where it is ending the job anyway."""
    try:
        slurm.terminate_steps(job, turn)
    except slurm.SlurmError as error:
        print(error, file=sys.stderr, flush=True)


def _hear_ranks(srun: subprocess.Popen[str], exits: queue.Queue[Exit | None], over: threading.Event) -> None:
    assert srun.stdout is not None
    try:
        with srun.stdout as lines:
            for line in lines:
                if (end := _exit(line)) is not None:
                    exits.put(end)
                else:
                    local.say(line, sys.stderr)
    finally:  # whatever came: no process is left waiting
        over.set()
        exits.put(None)
        exits.put(None)  # for a later wait


def _exit(line: str) -> Exit | None:
    """The exit that a line reports; None for what ranks print, and for a report that was cut or run together."""
    if not line.startswith(EXIT):
        return None
    try:
        found = json.loads(line.removeprefix(EXIT))
        return Exit(found["rank"], found["node"], found["code"], found["words"])
    except (ValueError, KeyError, TypeError):
        return None


def _hear_srun(srun: subprocess.Popen[str], printed: list[str]) -> None:
    assert srun.stderr is not None
    with srun.stderr as lines:
        for line in lines:
            local.say(line, sys.stderr)
            printed.append(line.strip())


def _end(srun: subprocess.Popen[str], at_once: bool) -> None:
    """Wait for the end of a step; end it if it does not, or `at_once` where ranks are left that hang."""
    if at_once:
        srun.terminate()  # srun then ends the step: SIGTERM, and SIGKILL after KillWait
    for end in (srun.terminate, srun.kill):
        with suppress(subprocess.TimeoutExpired):
            srun.wait(PATIENCE)
            break
        end()
    srun.wait()
    if srun.stdin is not None:
        with suppress(OSError):
            srun.stdin.close()
