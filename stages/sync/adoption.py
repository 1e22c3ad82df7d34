"""Jobs of an earlier driver that are still alive: a stage is submitted behind its own, never at the same time.

A driver that was killed leaves its jobs running. The next driver knows nothing of them; a stage's second job would wait
for the first one's lease in an allocation of its own. As a dependency, it waits in the queue and occupies nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import cached_property

from stages.cluster import slurm
from stages.cluster.slurm import Job
from stages.printable import printable
from stages.store import lease
from stages.store.layout import Layout
from stages.sync.graph import rule_name

# Snakemake's executor writes its own words into a job's name and comment. Its script names the markers that the job
# needs, all of one scale; that of `stages emit` names the scale.
SCALE = re.compile(r"results/\.markers/([^/\s']+)/|--scale (\S+)")
EXECUTOR = "slurm"  # Snakemake's name for the executor whose jobs can be adopted


class Adoption:
    """What Slurm has of this project, queried once, when the first job is about to be submitted."""

    def __init__(
        self,
        layout: Layout,
        keys: Mapping[str, str],
        ask: Callable[[], list[Job]] | None = None,
        script: Callable[[str], str] = slurm.script,
    ) -> None:
        self._layout, self._keys, self._script = layout, keys, script
        self._ask = ask or (lambda: slurm.jobs(layout.root))
        self._reported: set[str] = set()

    def option(self, name: str) -> str:
        """sbatch's option by which a new job of a stage or corpus waits for those there are; empty if there is none.

        A rule has one name at every scale, and before and after an edit: a job that has another key is another's. One
        that waits, or has just begun, has none yet and is waited for, unless its script shows that it is another
        scale's. Prints a line for each. Raises SlurmError.
        """
        there = [job for job in self._jobs if job.rule == rule_name(name)]
        key = self._keys.get(name)
        behind = [job for job in there if concerns(job, self._layout.scale, key, self._held, self._script)]
        for job in there:
            self._say(name, job, job in behind)
        return f"--dependency=afterany:{':'.join(job.id for job in behind)}" if behind else ""

    @cached_property
    def _jobs(self) -> list[Job]:
        return self._ask()

    @cached_property
    def _held(self) -> dict[str, str]:
        return held(self._layout) if self._jobs else {}

    def _say(self, name: str, job: Job, waits: bool) -> None:
        if job.id in self._reported:
            return
        self._reported.add(job.id)
        where = f" on {job.nodes}" if job.nodes else ""
        then = "the new job waits for its end" if waits else "with another key (another spec or scale): not waited for"
        line = f"{name}: job {job.id} of an earlier start is {job.state.lower()}{where}; {then}."
        print(printable(f"{line} To be rid of it: scancel {job.id}"), file=sys.stderr)


def concerns(
    job: Job, scale: str, key: str | None, keys: Mapping[str, str], script: Callable[[str], str] = slurm.script
) -> bool:
    """Whether a job with a stage's name does, or may come to do, what is under `key` at `scale`; `keys` as of `held`.

    A rule has one name at every scale, and before and after an edit. Of a job without a key yet, its script decides.
    """
    if job.id in keys:
        return keys[job.id] == key
    try:
        found = SCALE.search(script(job.id))
    except slurm.SlurmError:  # it has just ended, or is not a batch job
        return True
    return found is None or (found[1] or found[2]) == scale


def held(layout: Layout) -> dict[str, str]:
    """Job id -> the key that a run in it has, whatever its scale."""
    holders = ((folder.name, lease.holder(folder)) for folder in (layout.results / ".runs").glob("*"))
    return {holder.job: key for key, holder in holders if holder is not None and holder.job is not None}
