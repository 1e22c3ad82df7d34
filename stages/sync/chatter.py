"""Which lines of Snakemake are of no use beside those of the stages. Its log file and `--quiet host` have them all."""

from __future__ import annotations

import logging
import re

STREAM = "DefaultStreamHandler"  # how Snakemake calls the handler of its terminal (snakemake/logging.py)
OWN_WORK = re.compile(
    r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Building DAG of jobs\.\.\.|Using shell: .*"
    r"|Assuming unrestricted shared filesystem usage\."
)
# A stage or a corpus that failed has said why itself; this is Snakemake's word for that a process returned 1.
RETURNED = re.compile(r"RuleException:\s+CalledProcessError .* -m stages (?:run|data) .* returned non-zero", re.DOTALL)


def needless(record: logging.LogRecord) -> bool:
    """Whether a record says only how Snakemake works, or again that a command of ours failed."""
    text = record.getMessage()
    return bool(OWN_WORK.fullmatch(text) or RETURNED.match(text))


def leave_out(logger: logging.Logger) -> None:
    """Keep such lines off the terminal; a log file of Snakemake's has another handler."""
    for handler in logger.handlers:
        if handler.name == STREAM:
            handler.addFilter(lambda record: not needless(record))
