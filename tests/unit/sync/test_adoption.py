"""A second driver: what it submits waits in the queue for the jobs that the first one left alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.cluster.slurm import Allocation, Job, SlurmError
from stages.store import lease
from stages.store.layout import Layout
from stages.sync.adoption import Adoption

KEYS = {"p/s": "a" * 32}


def job(number: str, rule: str | None = "p__s", state: str = "RUNNING", nodes: str = "n1") -> Job:
    return Job(number, state, rule, nodes, None, Path("/project"))


def adoption(root: Path, *jobs: Job, script: str = "") -> Adoption:
    return Adoption(Layout(root, "mini"), KEYS, lambda: list(jobs), lambda number: script)


@contextmanager
def working(root: Path, key: str, number: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run in job `number` that holds `key`."""
    monkeypatch.setattr("stages.cluster.slurm.allocation", lambda: Allocation(number, ("n1",), "n1"))
    with lease.hold(Layout(root, "mini").run(key), "p/s"):
        yield


def test_a_job_waits_for_all_that_are_alive_of_its_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waits = adoption(tmp_path, job("7"), job("8", "p__other"), job("9", state="PENDING", nodes=""), job("10", None))
    assert waits.option("p/s") == "--dependency=afterany:7:9"
    assert capsys.readouterr().err.splitlines() == [
        "p/s: job 7 of an earlier start is running on n1; the new job waits for its end. To be rid of it: scancel 7",
        "p/s: job 9 of an earlier start is pending; the new job waits for its end. To be rid of it: scancel 9",
    ]


def test_a_line_is_printed_once_and_slurm_asked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    waits = Adoption(Layout(tmp_path, "mini"), KEYS, lambda: asked.append(1) or [job("7")], lambda number: "")
    assert waits.option("p/s") == waits.option("p/s")
    assert (len(asked), len(capsys.readouterr().err.splitlines())) == (1, 1)


def test_a_corpus_waits_as_a_stage_does(tmp_path: Path) -> None:
    assert adoption(tmp_path, job("7", "data__code")).option("code") == "--dependency=afterany:7"


def test_a_job_at_work_on_the_wanted_key_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with working(tmp_path, KEYS["p/s"], "7", monkeypatch):
        assert adoption(tmp_path, job("7")).option("p/s") == "--dependency=afterany:7"


def test_a_job_at_work_on_another_key_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The spec was edited since, or the job is another scale's: rules have the same names there."""
    with working(tmp_path, "b" * 32, "7", monkeypatch):
        assert adoption(tmp_path, job("7")).option("p/s") == ""
    assert "with another key (another spec or scale): not waited for. To be rid of it: scancel 7" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("script", "waited_for"),
    [
        ("snakemake --wait-for-files 'results/.markers/mini/data/code.45' 'results/.markers/mini/p/q.1' --force", True),
        ("snakemake --wait-for-files 'results/.markers/small/data/code.45' --force", False),
        ("exec python -m stages run p/s --scale mini", True),
        ("exec python -m stages run p/s --scale small --releases /r", False),
        ("snakemake --force", True),
    ],
)
def test_a_job_that_has_not_begun_is_told_by_its_script(tmp_path: Path, script: str, waited_for: bool) -> None:
    waits = adoption(tmp_path, job("7", state="PENDING", nodes=""), script=script)
    assert waits.option("p/s") == "--dependency=afterany:7" * waited_for


def test_a_job_without_a_script_is_waited_for(tmp_path: Path) -> None:
    def gone(number: str) -> str:
        raise SlurmError("Invalid job id")

    assert Adoption(Layout(tmp_path, "mini"), KEYS, lambda: [job("7")], gone).option("p/s") == "--dependency=afterany:7"


def test_where_nothing_is_alive_nothing_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert adoption(tmp_path).option("p/s") == ""
    assert capsys.readouterr().err == ""


def test_a_second_driver_does_not_start_blindly(tmp_path: Path) -> None:
    def silent() -> list[Job]:
        raise SlurmError("no answer")

    with pytest.raises(SlurmError):
        Adoption(Layout(tmp_path, "mini"), KEYS, silent).option("p/s")
