"""Queries and requests to Slurm, through its own commands. Nothing here is called where Slurm is not used."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import UserError

TIMEOUT = 30.0  # seconds for an answer
TRIES, PAUSE = 13, 10.0  # the controller may be restarting: how often it is queried, and seconds in between
FORMAT = "%A|%T|%k|%L|%N|%r|%Z"  # %A, not %i: SLURM_JOB_ID, in arrays too. The folder last: it may have any character
GONE = "Invalid job id"  # what Slurm says of a job that is long over: the controller has forgotten it
RULE = "rule_"  # Snakemake's executor writes `rule_<name>` into a job's comment


class SlurmError(UserError):
    """Slurm gives no answer, or refuses a request."""


class RefusedError(SlurmError):
    """Slurm refuses a request; `words` are its own."""

    def __init__(self, message: str, words: str) -> None:
        super().__init__(message)
        self.words = words


class SilentNodeError(UserError):
    """Nodes of this job do not answer; Slurm may still find them down, and requeue the job by itself."""

    def __init__(self, message: str, nodes: Sequence[str]) -> None:
        super().__init__(message)
        self.nodes = tuple(nodes)


@dataclass(frozen=True)
class Allocation:
    """The job that this process runs in: its id, the names of its nodes, and the node of this process, if one of them.

    The first node is where the batch script runs.
    """

    job: str
    nodes: tuple[str, ...]
    here: str | None


@dataclass(frozen=True)
class Job:
    """A job that waits, runs or is ending. `rule` is Snakemake's, None for other jobs.

    `state` is squeue's (PENDING, RUNNING, COMPLETING, ...), `nodes` as Slurm abbreviates them ("n[1-4]", "" before the
    start), `time_left` seconds up to the time limit, None if there is none, `reason` why it waits, in Slurm's word.
    """

    id: str
    state: str
    rule: str | None
    nodes: str
    time_left: float | None
    folder: Path
    reason: str = ""


def this_job() -> str | None:
    """The id of the Slurm job that this process runs in, or None."""
    return os.environ.get("SLURM_JOB_ID")


def allocation() -> Allocation | None:
    """The Slurm job that this process runs in, with its nodes, or None. Raises SlurmError."""
    number = this_job()
    if number is None:
        return None
    # Snakemake's executor takes this variable away from what it starts, but not slurmd's own.
    nodes = os.environ.get("SLURM_JOB_NODELIST") or _one(number).nodes
    names = tuple(_ask(["scontrol", "show", "hostnames", nodes]).split())
    return Allocation(number, names, os.environ.get("SLURMD_NODENAME"))


def alone(number: str) -> str:
    """How Slurm's commands call this job and no other: the number of an array's last task is also the whole array's."""
    if os.environ.get("SLURM_ARRAY_JOB_ID") == number and "SLURM_ARRAY_TASK_ID" in os.environ:
        return f"{number}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return number


def job(number: str) -> Job | None:
    """One job, or None if it is over. Raises SlurmError."""
    try:
        found = _parsed(_ask(["squeue", "--noheader", "--jobs", alone(number), "--format", FORMAT]))
    except SlurmError as error:
        if GONE in str(error):
            return None
        raise
    return found[0] if found else None


def jobs(root: Path) -> list[Job]:
    """This user's jobs that were submitted from the project `root` and are not over. Raises SlurmError."""
    here = root.resolve()
    found = _parsed(once(["squeue", "--noheader", "--me", "--format", FORMAT]))
    return [one for one in found if one.folder.resolve() == here]


def script(number: str) -> str:
    """The batch script of one of this user's jobs that is not over. Raises SlurmError."""
    return once(["scontrol", "write", "batch_script", number, "-"])


def requeue(number: str) -> None:
    """Have a running job ended and put back into the queue under the same id. Raises SlurmError."""
    _ask(["scontrol", "requeue", alone(number)])


def turn(number: str) -> int:
    """Which turn of a job this is: how often it was put back into the queue, always under the same id.

    Raises SlurmError, also for a job that is over.
    """
    found = _described(number)
    if not found:
        raise _unknown(number)
    return _turn(found)


def goes_on(number: str, turn: int) -> bool:
    """Whether a job still runs in this turn, and is not ending. Raises SlurmError.

    To be called before a job is sent anything: what was left behind on a frozen node must leave the next turn alone.
    """
    found = _described(number)
    return found.get("JobState") == "RUNNING" and _turn(found) == turn


def has_passed(number: str, turn: int) -> bool:
    """Whether a job waits for, or is in, a later turn than this one. Raises SlurmError."""
    found = _described(number)
    return found.get("JobState") in ("PENDING", "RUNNING") and _turn(found) != turn


def terminate_steps(number: str, turn: int) -> None:
    """Send SIGTERM to every process of a job's steps, not to its batch script, in this turn. Raises SlurmError."""
    if goes_on(number, turn):
        # From five seconds on, scancel repeats itself: it would meet a job that has been requeued meanwhile.
        once(["scancel", "--signal=TERM", alone(number)], timeout=4.0)


def preempted(number: str) -> bool:
    """Whether a running job has been signalled to end and has some time left for that. Raises SlurmError."""
    return _described(number).get("PreemptTime", "None") not in ("None", "Unknown")


def address(node: str) -> str:
    """Where other nodes reach a node: Slurm's names of nodes need not be names of hosts. Raises SlurmError."""
    return _fields(_ask(["scontrol", "show", "node", node])).get("NodeAddr", node)


def node_timeout() -> float:
    """Seconds after which Slurm takes a silent node for down and requeues its jobs; 0 if never. Raises SlurmError."""
    match = re.search(r"^SlurmdTimeout\s*=\s*(\d+)", _ask(["scontrol", "show", "config"]), re.MULTILINE)
    return float(match[1]) if match else 0.0


def _one(number: str) -> Job:
    found = job(number)
    if found is None:
        raise _unknown(number)
    return found


def _unknown(number: str) -> SlurmError:
    return SlurmError(f"SLURM_JOB_ID={number} is set, but Slurm knows no such job. Outside a job, unset SLURM_JOB_ID.")


def _described(number: str) -> dict[str, str]:
    """What `scontrol show job` says of a job; empty when the job is over."""
    try:
        return _fields(_ask(["scontrol", "show", "job", alone(number)]))
    except SlurmError as error:
        if GONE in str(error):
            return {}
        raise


def _fields(output: str) -> dict[str, str]:
    """What `scontrol show` says, each value up to its first space; the first of each: what users wrote comes later."""
    return dict(reversed(re.findall(r"\b(\w+)=(\S+)", output)))


def _turn(described: Mapping[str, str]) -> int:
    return int(described.get("Restarts", 0))


def _parsed(answer: str) -> list[Job]:
    rows = [line.split("|", 6) for line in answer.splitlines() if line.count("|") >= 6]
    return [
        Job(
            number,
            state,
            comment.removeprefix(RULE) if comment.startswith(RULE) else None,
            nodes,
            seconds(left),
            Path(folder),
            "" if reason in ("None", "(null)") else reason,
        )
        for number, state, comment, left, nodes, reason, folder in rows
    ]


def seconds(left: str) -> float | None:
    """[days-][hours:]minutes:seconds as seconds; 0 for a time that is over, None for no limit."""
    if left == "INVALID":
        return 0.0
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", left)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _ask(command: Sequence[str]) -> str:
    """A command's output. A job that runs for days asks again where the controller does not answer for a moment."""
    for attempt in range(1, TRIES + 1):
        try:
            return once(command)
        except SlurmError as error:
            if attempt == TRIES or "contact" not in str(error).lower():
                raise
            time.sleep(PAUSE)
    raise AssertionError("queried at least once")


def once(command: Sequence[str], timeout: float = TIMEOUT) -> str:
    """A command's output. Raises SlurmError, of which RefusedError where Slurm answers."""
    shown = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, errors="replace")
    except FileNotFoundError:
        raise SlurmError(
            f"`{shown}`: there is no {command[0]} on PATH. Slurm's commands belong there on a cluster."
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"`{shown}` gave no answer in {timeout:.0f} s: cannot contact Slurm's controller.") from None
    if done.returncode:
        words = done.stderr.strip() or "; ".join([*done.stdout.splitlines()[-1:], f"exit code {done.returncode}"])
        raise RefusedError(f"`{shown}` failed: {words}", words)
    return done.stdout
