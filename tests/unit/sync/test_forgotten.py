"""A job that Slurm has forgotten is over for Snakemake too, no other is; none is lost where Slurm gives no answer."""

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
    """As Snakemake's executor: what it does not know to be over is to be looked at again, unless it had no answer."""

    run_uuid = "a-run"

    def __init__(self) -> None:
        self.over: list[str] = []

    async def check_active_jobs(self, active_jobs: list[Submitted]) -> AsyncIterator[Submitted]:
        if (states := self.states()) is None:
            return
        for job in active_jobs:
            match states.get(job.external_jobid):
                case "COMPLETED":
                    self.report_job_success(job)
                case "FAILED":
                    self.report_job_error(job, msg="it failed")
                case _:
                    yield job

    def states(self) -> dict[str, str] | None:
        return {}

    def report_job_success(self, job: Submitted) -> None:
        self.over.append(job.external_jobid)

    def report_job_error(self, job: Submitted, msg: str) -> None:
        self.over.append(f"{job.external_jobid}: {msg}")


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

    while left:
        try:
            left = asyncio.run(again(left))
        except RuntimeError:  # no answer is left
            break
        waited.append([job.external_jobid for job in left])
    return executor, waited


def test_what_is_not_listed_twice_in_succession_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executor, waited = looks(monkeypatch, iter([{"7", "8"}, {"8"}, {"8"}, {"8"}]))
    assert waited == [["7", "8"], ["7", "8"], ["8"], ["8"]]
    assert executor.over == ["7"]
    assert "stages: toy__first: job 7 is over, and Slurm has forgotten how it ended;" in capsys.readouterr().err


def test_a_queue_that_gives_no_answer_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, waited = looks(monkeypatch, iter([{"8"}, None, {"8"}, None, {"7", "8"}, {"7", "8"}]))
    assert waited == [["7", "8"]] * 6
    assert executor.over == []


def test_jobs_that_the_executor_loses_without_an_answer_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[dict[str, str] | None] = [{}, None, None, {"7": "COMPLETED"}, {"8": "FAILED"}]
    monkeypatch.setattr(Asking, "states", lambda self: answers.pop(0))
    executor, waited = looks(monkeypatch, iter([{"7", "8"}, None, None, {"7", "8"}]))
    assert waited == [["7", "8"], ["7", "8"], ["7", "8"], ["8"], []]
    assert executor.over == ["7", "8: it failed"]
    said = capsys.readouterr().err
    assert said == "stages: `squeue` gave no answer. Jobs run on; Slurm is asked for them again.\n"
