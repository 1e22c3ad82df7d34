"""What is read from Slurm's answers. The commands are stand-ins on PATH; tests/slurm asks the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.cluster import slurm
from tests.unit.cluster.conftest import Command

DESCRIBED = """JobId=7 JobName=x
   JobState=%s Reason=None
   Requeue=1 Restarts=%d BatchFlag=1
   Comment=a JobState=BOOT_FAIL Restarts=9"""


def in_a_job(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Slurm's variables, and no others of it."""
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURMD_NODENAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_outside_a_job_nothing_is_asked(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_job(monkeypatch)
    assert slurm.allocation() is None


def test_a_job_that_lost_its_node_list_to_snakemake_asks_for_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("squeue", "echo '7|RUNNING|rule_p__s|1:00|n[1-2]|None|/project'")
    command("scontrol", "printf 'n1\\nn2\\n'")
    in_a_job(monkeypatch, SLURM_JOB_ID="7", SLURMD_NODENAME="n1")
    found = slurm.allocation()
    assert found == slurm.Allocation("7", ("n1", "n2"), "n1")
    asked = (tmp_path / "bin/asked").read_text()
    assert "--jobs 7" in asked
    assert "show hostnames n[1-2]" in asked


def test_a_job_with_its_node_list_does_not_ask_for_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    command("scontrol", "echo n3")
    in_a_job(monkeypatch, SLURM_JOB_ID="7", SLURM_JOB_NODELIST="n3")
    found = slurm.allocation()
    assert found == slurm.Allocation("7", ("n3",), None)


def test_jobs_are_those_of_this_project_whatever_is_in_their_comments(command: Command, tmp_path: Path) -> None:
    rows = [
        f"7|RUNNING|rule_p__s|1-02:03:04|n[1-2]|None|{tmp_path}",
        f"8|PENDING|(null)|UNLIMITED||PartitionTimeLimit|{tmp_path}",
        "9|RUNNING|rule_p__s|5:00|n1|None|/elsewhere",
        f"10|RUNNING|a|b|c|5:00|n1|None|{tmp_path}",
    ]
    command("squeue", "\n".join(f"echo '{row}'" for row in rows))
    assert slurm.jobs(tmp_path) == [
        slurm.Job("7", "RUNNING", "p__s", "n[1-2]", 26 * 3600 + 184.0, tmp_path),
        slurm.Job("8", "PENDING", None, "", None, tmp_path, "PartitionTimeLimit"),
    ]


def test_a_node_is_met_where_slurm_reaches_it(command: Command) -> None:
    command("scontrol", "echo 'NodeName=gpu-001 Arch=x86_64'; echo '   NodeAddr=10.0.3.1 NodeHostName=node17'")
    assert slurm.address("gpu-001") == "10.0.3.1"
    command("scontrol", "echo 'NodeName=gpu-001 Arch=x86_64'")
    assert slurm.address("gpu-001") == "gpu-001"


@pytest.mark.parametrize(
    ("left", "seconds"), [("0:05", 5), ("1:00:00", 3600), ("2-00:00:00", 172800), ("INVALID", 0), ("NOT_SET", None)]
)
def test_time_left_is_in_seconds(command: Command, left: str, seconds: float | None) -> None:
    command("squeue", f"echo '7|RUNNING||{left}|n1|None|/p'")
    found = slurm.job("7")
    assert found is not None
    assert found.time_left == seconds


def test_a_job_that_is_over_is_none(command: Command) -> None:
    command("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.job("7") is None
    command("squeue", "true")
    assert slurm.job("7") is None


def test_a_refusal_is_told_with_the_command(command: Command) -> None:
    command("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    with pytest.raises(
        slurm.SlurmError, match="`scontrol requeue 7` failed: Requested operation is presently disabled"
    ):
        slurm.requeue("7")


def test_a_controller_that_is_restarting_is_asked_again(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "PAUSE", 0.0)
    up = f"if [ -e {tmp_path}/up ]; then exit 0; fi; touch {tmp_path}/up"
    command("scontrol", f"{up}; echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    slurm.requeue("7")


def test_without_slurm_the_missing_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm.SlurmError, match="there is no squeue on PATH"):
        slurm.jobs(tmp_path)


def test_steps_of_a_job_that_is_ending_are_not_signalled(command: Command, tmp_path: Path) -> None:
    """scancel would wait, and then meet the job that has been requeued under the same id."""
    command("scancel", "true")
    for state, told in (("COMPLETING", False), ("PENDING", False), ("RUNNING", True)):
        command("scontrol", f"echo '{DESCRIBED % (state, 0)}'")
        slurm.terminate_steps("7", 0)
        assert ("scancel --signal=TERM 7" in (tmp_path / "bin/asked").read_text()) == told


@pytest.mark.parametrize(
    ("state", "restarts", "goes_on", "has_passed"),
    [("RUNNING", 1, True, False), ("COMPLETING", 1, False, False), ("COMPLETING", 2, False, False),
     ("PENDING", 2, False, True), ("RUNNING", 2, False, True), ("CANCELLED", 1, False, False)],
)  # fmt: skip
def test_a_turn_of_a_job_is_told_from_the_next_one(
    command: Command, state: str, restarts: int, goes_on: bool, has_passed: bool
) -> None:
    command("scontrol", f"echo '{DESCRIBED % (state, restarts)}'")
    assert slurm.turn("7") == restarts
    assert slurm.goes_on("7", 1) == goes_on
    assert slurm.has_passed("7", 1) == has_passed


def test_a_job_that_is_forgotten_has_no_turn(command: Command) -> None:
    command("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert not slurm.goes_on("7", 0)
    assert not slurm.has_passed("7", 0)
    with pytest.raises(slurm.SlurmError, match="SLURM_JOB_ID=7 is set, but Slurm knows no such job"):
        slurm.turn("7")


@pytest.mark.parametrize(("told", "preempted"), [("None", False), ("Unknown", False), ("2026-11-21T09:00:00", True)])
def test_a_job_with_a_time_to_make_room_is_preempted(command: Command, told: str, preempted: bool) -> None:
    command("scontrol", f"echo 'JobId=7 EligibleTime=x'; echo '   PreemptEligibleTime=y PreemptTime={told}'")
    assert slurm.preempted("7") == preempted


@pytest.mark.parametrize(("number", "called"), [("28", "28_2"), ("29", "29")])
def test_the_last_task_of_an_array_asks_for_and_ends_itself_alone(
    number: str, called: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is also that of the whole array: what is sent there reaches every task."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "28")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    command("scontrol", "printf 'JobState=RUNNING Restarts=0'")
    command("squeue", "echo '28|RUNNING|x|1:00|n1|None|/project'")
    command("scancel", "true")
    slurm.requeue(number)
    slurm.terminate_steps(number, 0)
    slurm.job(number)
    asked = (tmp_path / "bin/asked").read_text().splitlines()
    assert [line for line in asked if called not in line.split()] == []
    assert len(asked) == 4
