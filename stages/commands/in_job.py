"""What a run does when it is a Slurm job: wait for a lease, stop ahead of the time limit, go back into the queue."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.cluster import deadline, slurm
from stages.errors import UserError
from stages.store import lease
from stages.train.stopping import StoppedError, ended_when_asked

POLL = 5.0  # seconds between two queries of the job's state
ENDING = 60.0  # seconds in which Slurm ends a job that it has requeued, or at least has taken note of it
LATER = 1.5  # times SlurmdTimeout: when Slurm, which asks nodes three times in that time, has surely found one down
LAST = 1 / 3  # of the time kept free before the limit: when it is left, what has not stopped by itself is cut off


class Turn:
    """One job's turn at a stage, which may take several. `folder` is the stage's folder of runs."""

    def __init__(self, ref: str, job: str, folder: Path) -> None:
        self.ref, self.job, self.number, self.folder = ref, job, slurm.turn(job), folder
        self.due, self.waits, self.requeued = False, False, threading.Event()
        self._one = threading.Lock()  # the deadline's thread and the main one may both come to it
        self._found = self._checkpoints()

    def stop(self) -> None:
        """Ask the ranks to write a checkpoint and stop: this process passes SIGTERM on to them."""
        self._say("its time limit is near: stopping at a checkpoint, to go on in the queue")
        self.due = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def cut(self) -> None:
        """Go back into the queue as it is, since nothing has stopped: an evaluation, or a step, takes too long."""
        try:
            if self._came_further():
                self.put_back()
        except slurm.SlurmError as error:
            self._say(str(error))

    def ended(self, error: UserError) -> None:
        """After an error: go back into the queue and wait for the job's end, unless the error is the stage's own.

        What requested a stop was the time limit, or Slurm, which needs the nodes. A job that is cancelled, or that
        Slurm is requeueing by itself, is left alone. So is a later turn of the job: then this one was left behind on a
        node that froze. Raises StoppedError where Slurm refuses.
        """
        if self._has_passed():
            self.requeued.set()
        elif isinstance(error, slurm.SilentNodeError):
            self._wait_for_slurm(error)
        elif isinstance(error, StoppedError) and not self.requeued.is_set():
            try:
                if self._came_further() if self.due else slurm.preempted(self.job):
                    self.put_back()
            except slurm.SlurmError as refused:
                raise StoppedError(f"{error} The job could not go back into the queue: {refused}") from None
        if self.requeued.is_set():
            time.sleep(ENDING)  # the end comes from Slurm: before it, an exit code would be taken for a failure
            _vanish()

    def _wait_for_slurm(self, error: slurm.SilentNodeError) -> None:
        """Wait until Slurm has noticed that a node is down: it then ends and requeues this job, with its nodes known.

        It may find the node well, as after a quick restart: then the job goes back by itself, if it has come further.
        Raises the error with Slurm's words where Slurm refuses.
        """
        self.waits = True  # for the end that Slurm puts to this job, which may begin with SIGTERM
        try:
            seconds = slurm.node_timeout() * LATER
            silent = f"no answer from {', '.join(error.nodes)}"
            self._say(f"{silent}: waiting up to {seconds:.0f} s for Slurm to find it down and to requeue this job")
            if self._ends_within(seconds):
                self.requeued.set()
            elif self._checkpoints() - self._found:
                self.put_back()
        except slurm.SlurmError as refused:
            raise UserError(f"{error} The job could not go back into the queue: {refused}") from None

    def _ends_within(self, seconds: float) -> bool:
        """Whether Slurm ends this job within so many seconds, or else before its time limit. Raises SlurmError."""
        end = time.monotonic() + seconds
        while (now := slurm.job(self.job)) is not None and slurm.goes_on(self.job, self.number):
            left = end - time.monotonic()
            if left <= 0 or (now.time_left is not None and now.time_left < ENDING):
                return False
            time.sleep(min(left, POLL))
        return True

    def put_back(self) -> None:
        """Requeue, once, unless the job is ending already. Raises SlurmError."""
        with self._one:
            if self.requeued.is_set() or not slurm.goes_on(self.job, self.number):
                return
            self._say("going back into the queue, to continue from the last checkpoint")
            self.requeued.set()  # first: SIGTERM comes as soon as Slurm has the request
            try:
                slurm.requeue(self.job)
            except slurm.SlurmError:
                self.requeued.clear()
                raise

    def _has_passed(self) -> bool:
        try:
            return slurm.has_passed(self.job, self.number)
        except slurm.SlurmError:
            return False  # then the error is shown

    def _came_further(self) -> bool:
        """Whether this turn wrote a checkpoint, or waited for another run; else the next would end as this one does."""
        other = lease.holder(self.folder)
        if self._checkpoints() - self._found or (other is not None and other.job != self.job):
            return True
        self._say(
            "it has written no checkpoint in all its time: another turn would come no further. Raise `time_limit` "
            "(and `max_time` in slurm/site.yaml), or lower `checkpoint_every`"
        )
        return False

    def _checkpoints(self) -> set[Path]:
        return set(self.folder.glob("attempt-*/partial-[0-9]*"))

    def _say(self, what: str) -> None:
        print(f"{self.ref}: job {self.job}: {what}.", file=sys.stderr, flush=True)


def _vanish() -> None:
    """End this process and all that are above it in the batch script, without a message.

    Slurm has lost sight of what the batch script started (proctrack/linuxproc), and the job may run again by now:
    Snakemake, above us, must not see an error and clear away what that run has finished.
    """
    os.killpg(0, signal.SIGKILL)


@contextmanager
def looked_after(ref: str, job: str, folder: Path, ahead: float) -> Iterator[None]:
    """Do the block within a job's time: `ahead` seconds before its limit it is stopped, and the job requeued.

    Raises StoppedError when a stop is requested before there are ranks to pass it on to.
    """
    turn = Turn(ref, job, folder)
    with ended_when_asked(ref, unless=lambda: turn.requeued.is_set() or turn.waits):
        try:
            with deadline.watching(job, [(ahead, turn.stop), (ahead * LAST, turn.cut)]):
                yield
        except UserError as error:
            turn.ended(error)
            raise
