"""The job of a run, as stand-ins of Slurm's commands describe it."""

from __future__ import annotations

from pathlib import Path

from stages.cluster.slurm import SilentNodeError
from tests.unit.cluster.conftest import Command

LOST = SilentNodeError("p/s: lost the ranks on n2 (no answer)", ["n2"])
CONFIG = "if [ $2 = config ]; then echo 'SlurmctldTimeout = 1 sec'; echo 'SlurmdTimeout           = %d sec'; fi"


def job(command: Command, state: str = "RUNNING", preempted: str = "None") -> None:
    command("squeue", f"echo '7|{state}||5:00|n1|None|/p'")
    command("scontrol", described(state, preempted))


def described(state: str = "RUNNING", preempted: str = "None", restarts: int = 0) -> str:
    return f'if [ "$1 $2" = "show job" ]; then echo "JobState={state} Restarts={restarts} PreemptTime={preempted}"; fi'


def requeued(folder: Path) -> bool:
    asked = folder / "bin/asked"
    return asked.exists() and "scontrol requeue 7" in asked.read_text()
