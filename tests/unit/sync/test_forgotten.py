"""A job that Slurm has forgotten is over for Snakemake too, and no other is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from stages.cluster import slurm
from stages.sync import forgotten


@dataclass(frozen=True)
class Submitted:
    """As Snakemake's executor hands a job around."""

    external_jobid: str
    job: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="toy__first"))


class Asking:
    """As Snakemake's executor: a job that it does not know to be over is to be looked at again."""

    run_uuid = "a-run"

    def __init__(self) -> None:
        self.over: list[str] = []

    async def check_active_jobs(self, active_jobs: list[Submitted]) -> AsyncIterator[Submitted]:
        for job in active_jobs:
            yield job

    def report_job_success(self, job: Submitted) -> None:
        self.over.append(job.external_jobid)


def looks(monkeypatch: pytest.MonkeyPatch, answers: Iterator[set[str] | None]) -> tuple[Asking, list[list[str]]]:
    """Looks at jobs 7 and 8, one for each answer of squeue (None: no answer): what is over, and what is waited for."""

    def listed(name: str) -> set[str]:
        assert name == "a-run"
        found = next(answers)
        if found is None:
            raise slurm.SlurmError("`squeue` gave no answer")
        return found

    class Executor(Asking):
        pass

    monkeypatch.setattr(forgotten, "_listed", listed)
    forgotten.watch(Executor)
    executor, left = Executor(), [Submitted("7"), Submitted("8")]
    waited: list[list[str]] = []

    async def again(jobs: list[Submitted]) -> list[Submitted]:
        return [job async for job in executor.check_active_jobs(jobs)]

    while True:
        try:
            left = asyncio.run(again(left))
        except (StopIteration, RuntimeError):
            return executor, waited
        waited.append([job.external_jobid for job in left])


def test_what_is_not_listed_twice_in_succession_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executor, waited = looks(monkeypatch, iter([{"7", "8"}, {"8"}, {"8"}, {"8"}]))
    assert waited == [["7", "8"], ["7", "8"], ["8"], ["8"]]
    assert executor.over == ["7"]
    assert "stages: toy__first: job 7 is over, and Slurm has forgotten how it ended." in capsys.readouterr().err


def test_a_queue_that_gives_no_answer_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, waited = looks(monkeypatch, iter([{"8"}, None, {"8"}, None, {"7", "8"}, {"7", "8"}]))
    assert waited == [["7", "8"]] * 6
    assert executor.over == []
