"""What a cluster adds to the verdicts: jobs that wait or have just begun, and what ended before a stage could begin."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stages.cluster import slurm
from stages.cluster.slurm import Job
from stages.store.done import Verdict
from stages.store.layout import Layout
from stages.sync.adoption import concerns, held
from stages.sync.config import scales, usual
from stages.sync.graph import rule_name

JOB_LOGS = "results/.slurm"  # as in slurm/config.yaml; Snakemake's executor removes those of jobs that succeeded
SAID = "stages: "  # how the command's own messages begin


def jobs(root: Path) -> list[Job] | None:
    """The project's living jobs; None where there is no Slurm. Raises SlurmError."""
    return slurm.jobs(root) if shutil.which("squeue") else None


def add(layout: Layout, verdicts: Mapping[str, Verdict], alive: Sequence[Job]) -> dict[str, Verdict]:
    """The verdicts, with those changed that a job says more about."""
    keys = held(layout) if alive else {}
    found = {}
    for name, verdict in verdicts.items():
        rule = rule_name(verdict.ref)
        mine = [job for job in alive if job.rule == rule and concerns(job, layout.scale, verdict.key, keys)]
        found[name] = verdict if verdict.done else _with_job(layout, verdict, rule, mine)
    return found


def _with_job(layout: Layout, verdict: Verdict, rule: str, mine: Sequence[Job]) -> Verdict:
    begun = next((job for job in mine if job.nodes), None)
    if begun:
        return replace(verdict, state="running", why=f"job {begun.id} on {begun.nodes}", job=begun.id)
    if mine:  # one that was put back into the queue may have left a lease that still counts
        then = f"; goes on from step {verdict.step:,}" if verdict.step else ""
        reason = f" ({mine[0].reason})" if mine[0].reason else ""
        why = f"job {mine[0].id} waits in the queue{reason}{then}"
        return replace(verdict, state="pending", why=why, job=mine[0].id)
    if verdict.state == "running":
        return verdict
    if verdict.state in ("failed", "stopped"):
        return verdict if verdict.repeats else replace(verdict, command=_command(layout, rule))
    return _ended_early(layout, verdict, rule)


def _ended_early(layout: Layout, verdict: Verdict, rule: str) -> Verdict:
    """A stage that its last job did not come to: what that job printed says why."""
    found = (layout.root / JOB_LOGS / f"rule_{rule}").glob("*.log")
    # No pipe: it hangs.
    logs = sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)
    text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
    if verdict.key not in text:  # of another spec
        return verdict
    messages = [line.removeprefix(SAID) for line in text.splitlines() if line.startswith(SAID)]
    why = messages[-1] if messages else f"job {logs[-1].stem} ended before the stage began"
    return replace(verdict, state="failed", why=why, log=logs[-1], command=_command(layout, rule))


def _command(layout: Layout, rule: str) -> str:
    config = "" if layout.scale == usual(scales(layout.root)) else f" --config scale={layout.scale}"
    return f"snakemake --profile slurm {rule}{config}"
