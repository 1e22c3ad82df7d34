"""On the terminal, Snakemake says what is about the stages; what is about its own work is in its log file alone."""

import logging
from pathlib import Path

import pytest

from stages.sync import chatter

NEEDLESS = (
    "Select jobs to execute...",
    "Execute 2 jobs...",
    "Building DAG of jobs...",
    "Using shell: /usr/bin/bash",
    "Assuming unrestricted shared filesystem usage.",
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
