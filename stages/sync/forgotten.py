"""Jobs of Snakemake's that its Slurm executor loses sight of, so that Snakemake would wait for them for ever.

Where squeue gives no answer, as while Slurm's controller is restarted, the executor forgets the jobs that it asked for.
And a job that is over is listed for MinJobAge alone: 300 s by default, at some sites a minute. The executor asks every
three minutes at last, and takes what is not listed for waiting.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from stages.cluster import slurm

ENDS = ("report_job_success", "report_job_error")  # what an executor calls of a job that is over


def watch(executor: type[Any]) -> None:
    """Have an executor's class ask again for jobs that it lost, and take a job for over that squeue has not listed
    twice in succession. Whether that is done, its marker says: Snakemake looks for it after every job.
    """
    check = executor.check_active_jobs
    unlisted: set[str] = set()  # at the last check
    silent = False

    async def checked(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        nonlocal unlisted, silent
        with _ended(self) as ended:
            async for _ in check(self, active_jobs):
                pass
        left = [job for job in active_jobs if not any(job is one for one in ended)]
        before, unlisted = unlisted, set()
        try:
            known = _listed(self.run_uuid) if left else set()
            unlisted, silent = {job.external_jobid for job in left} - known, False
        except slurm.SlurmError as error:  # nothing is known of them now
            if not silent:
                _say(f"{error}. Jobs run on; Slurm is asked for them again")
            silent = True
        for job in left:
            if job.external_jobid in unlisted & before:
                _say(
                    f"{job.job.name}: job {job.external_jobid} is over, and Slurm has forgotten how it ended; its "
                    "marker says whether it is done"
                )
                self.report_job_success(job)
            else:
                yield job

    executor.check_active_jobs = checked


@contextmanager
def _ended(executor: Any) -> Iterator[list[Any]]:
    """The jobs of which an executor reports the end within the block."""
    found: list[Any] = []

    def noting(report: Any) -> Any:
        def reported(job: Any, *more: Any, **named: Any) -> None:
            found.append(job)
            report(job, *more, **named)

        return reported

    for name in ENDS:
        setattr(executor, name, noting(getattr(executor, name)))
    try:
        yield found
    finally:
        for name in ENDS:
            delattr(executor, name)


def _listed(name: str) -> set[str]:
    """The jobs of a name that Slurm knows of, also those that are over. Raises SlurmError."""
    return set(slurm.once(["squeue", "--noheader", "--states=all", "--name", name, "--format=%A"]).split())


def _say(what: str) -> None:
    print(f"stages: {what}.", file=sys.stderr, flush=True)
