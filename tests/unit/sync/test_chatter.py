"""On the terminal, Snakemake says what is about the stages; what is about its own work is in its log file alone."""

import errno
import io
import logging
import sys
import traceback
from pathlib import Path

import pytest

from stages.sync import chatter

NEEDLESS = (
    "Select jobs to execute...",
    "Execute 2 jobs...",
    "Building DAG of jobs...",
    "Using shell: /usr/bin/bash",
    "Assuming unrestricted shared filesystem usage.",
    "No SLURM account given, trying to guess.",
    "No account was given, not able to get a SLURM account via sacct: sacct: invalid option -- '1'\n",
    "Unable to guess SLURM account. Trying to proceed without.",
    'RuleException:\nCalledProcessError in file "/x/rules/common.smk", line 64:\nCommand \'set -euo pipefail;  python '
    "-m stages run toy/first --scale mini' returned non-zero exit status 1.",
)
NEEDED = (
    "Nothing to be done (all requested files are present and up to date).",
    "LockException:\nError: Directory cannot be locked.",
    "Exiting because a job execution failed. Look above for error messages",
    "RuleException:\nCalledProcessError in file \"/x/rules/mine.smk\", line 6:\nCommand 'python mine.py' returned "
    "non-zero exit status 1.",
    "Execute 2 jobs... of mine",
    "Guessed SLURM account: lab",
)


@pytest.mark.parametrize("text", [*NEEDLESS, *NEEDED])
def test_what_is_said_of_snakemakes_own_work_is_left_out_and_nothing_else(text: str) -> None:
    record = logging.LogRecord("snakemake", logging.INFO, __file__, 1, text, (), None)
    assert chatter.needless(record) == (text in NEEDLESS)


def test_a_log_file_has_every_line(tmp_path: Path) -> None:
    logger, screen, file = logging.Logger("x"), logging.StreamHandler(), logging.FileHandler(tmp_path / "log")
    screen.name, file.name = chatter.STREAM, "DefaultLogFileHandler"
    for handler in (screen, file):
        logger.addHandler(handler)
    chatter.leave_out(logger)
    record = logging.LogRecord("snakemake", logging.INFO, __file__, 1, NEEDLESS[0], (), None)
    assert (bool(screen.filter(record)), bool(file.filter(record))) == (False, True)
    file.close()


def of_job(message: object) -> logging.LogRecord:
    """What Snakemake logs of a job that failed, which `quiet: [rules]` keeps off the terminal."""
    record = logging.LogRecord("snakemake", logging.ERROR, __file__, 1, "Error in rule toy__first, jobid: 0", (), None)
    record.rule_name, record.rule_msg = "toy__first", message
    return record


def test_why_slurm_did_not_take_a_job_and_how_it_ended_one_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    logger, screen = logging.Logger("x"), logging.StreamHandler()
    screen.name = chatter.STREAM
    screen.addFilter(lambda record: False)
    logger.addHandler(screen)
    chatter.leave_out(logger)
    refused = "sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed"
    logger.handle(
        of_job(f"SLURM sbatch failed. The error message was '{refused}'.\n    sbatch call:\n   sbatch 'a'.\n")
    )
    many = "sbatch: error: AssocMaxSubmitJobLimit"
    logger.handle(of_job(f"SLURM sbatch failed. The error message was '{many}'.\n    sbatch call:\n   sbatch 'a'.\n"))
    logger.handle(of_job("SLURM-job '7' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed failure reason unavailable"))
    logger.handle(of_job("SLURM-job '8' failed due to a node failure, SLURM status is: 'NODE_FAIL'. Failed nodes"))
    logger.handle(of_job(None))
    assert capsys.readouterr().err.splitlines() == [
        "stages: toy__first: not submitted: sbatch: error: invalid partition specified: nowhere; "
        "sbatch: error: Batch job submission failed. slurm/site.yaml has what jobs ask for.",
        "stages: toy__first: not submitted: sbatch: error: AssocMaxSubmitJobLimit. Lower `jobs` in slurm/config.yaml: "
        "so many wait or run at the same time. Then start Snakemake again.",
        "stages: toy__first: job 7 ended as OUT_OF_MEMORY",
        "stages: toy__first: job 8 ended as NODE_FAIL",
    ]


class Full(io.StringIO):
    """A log file on a full disk."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_machine_refuses_snakemake_is_a_line_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect keeps its traceback, and so does what Snakemake says in its own words while it handles such an error."""
    monkeypatch.setattr(logging, "raiseExceptions", True)
    logger, screen, full = logging.Logger("x"), logging.StreamHandler(sys.stderr), logging.StreamHandler(Full())
    screen.name = chatter.STREAM
    for handler in (screen, full):
        logger.addHandler(handler)
    chatter.leave_out(logger)
    for error in (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only", "/x/lock")):
        try:
            raise error
        except OSError:
            logger.error(traceback.format_exc())
            logger.warning("Failed to set marker file")
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        logger.error('OSError in file "/x/Snakefile", line 66:\n[Errno 28] No space left on device\n  File "/x/y.py"')
    try:
        raise ValueError("a defect")
    except ValueError:
        logger.error(traceback.format_exc())
    said = capsys.readouterr().err
    first, second, third, fourth, fifth, *rest = said.splitlines()
    assert fifth == first
    assert first.startswith("stages: a file of Snakemake's own (in .snakemake or TMPDIR): refused (No space left on")
    assert third.startswith("stages: /x/lock: refused (Read-only). See that this user may read and write there")
    assert (second, fourth) == ("Failed to set marker file",) * 2
    assert (rest[0], rest[-2]) == ("Traceback (most recent call last):", "ValueError: a defect")
