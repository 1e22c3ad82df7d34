"""Jobs of Snakemake's that Slurm has forgotten before Snakemake heard how they ended.

squeue lists a job that is over for MinJobAge alone: 300 s by default, at some sites a minute. Snakemake's executor asks
every three minutes at last, and waits for a job that is not listed: where the queue was out of reach meanwhile, or the
driver's host stood still, it would wait for ever.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

from stages.cluster import slurm


def watch(executor: type[Any]) -> None:
    """Have an executor's class take a job for over that squeue has not listed twice in succession.

    Whether it is done, its marker says: Snakemake looks for that after every job.
    """
    look = executor.check_active_jobs
    unlisted: set[str] = set()  # at the last look

    async def looked(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        nonlocal unlisted
        left = [job async for job in look(self, active_jobs)]
        before, unlisted = unlisted, set()
        try:
            known = _listed(self.run_uuid) if left else set()
            unlisted = {job.external_jobid for job in left} - known
        except slurm.SlurmError:
            pass  # nothing is known of them now
        for job in left:
            if job.external_jobid not in unlisted & before:
                yield job
                continue
            print(
                f"stages: {job.job.name}: job {job.external_jobid} is over, and Slurm has forgotten how it ended. Its "
                "marker says whether it is done.",
                file=sys.stderr,
                flush=True,
            )
            self.report_job_success(job)

    executor.check_active_jobs = looked


def _listed(name: str) -> set[str]:
    """The jobs of a name that Slurm knows of, also those that are over. Raises SlurmError."""
    return set(slurm.once(["squeue", "--noheader", "--states=all", "--name", name, "--format=%A"]).split())
