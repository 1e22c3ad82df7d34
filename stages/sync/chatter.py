"""Which lines of Snakemake are of no use next to those of the stages; what Slurm says, which Snakemake leaves out with
them; what a machine refuses, of which Snakemake has a traceback. Its log file has them all."""

from __future__ import annotations

import logging
import re
import sys

from stages.errors import for_user
from stages.printable import printable

STREAM = "DefaultStreamHandler"  # how Snakemake calls the handler of its terminal (snakemake/logging.py)
OWN_WORK = re.compile(
    r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Building DAG of jobs\.\.\.|Using shell: .*"
    r"|Assuming unrestricted shared filesystem usage\."
    r"|No SLURM account given, trying to guess\.|Unable to guess SLURM account\. Trying to proceed without\."
    r"|No account was given, not able to get a SLURM account via sacct: (?s:.*)"
)
# A stage or a corpus that failed has printed why itself; this is Snakemake's word for that a process returned 1.
RETURNED = re.compile(r"RuleException:\s+CalledProcessError .* -m stages (?:run|data) .* returned non-zero", re.DOTALL)
# What Snakemake's executor says of a job that failed: Slurm refused it, or how Slurm ended it.
FAILED = re.compile(
    r"SLURM sbatch failed\. The error message was '(?P<refusal>.*?)'\.\n"
    r"|SLURM-job '(?P<job>[^']+)' failed.*?SLURM status is: '(?P<state>\w+)'",
    re.DOTALL,
)
MANY = "Lower `jobs` in slurm/config.yaml: so many wait or run at the same time. Then start Snakemake again."

# What Snakemake logs of an error that is none of a job: of its own code, and where a Snakefile had it read a file.
TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^OSError in file ")
OWN_FILES = "a file of Snakemake's own (in .snakemake or TMPDIR)"


def needless(record: logging.LogRecord) -> bool:
    """Whether a record says only how Snakemake works, or again that a command of ours failed."""
    text = record.getMessage()
    return bool(OWN_WORK.fullmatch(text) or RETURNED.match(text))


def of_slurm(record: logging.LogRecord) -> str:
    """Why Slurm did not take a job, or in which state one ended, in a line; "" for other records."""
    found = FAILED.search(str(getattr(record, "rule_msg", "")))
    if found is None:
        return ""
    if found["refusal"] is None:
        return printable(f"{getattr(record, 'rule_name', '')}: job {found['job']} ended as {found['state']}")
    why = "; ".join(found["refusal"].split("\n"))
    where = MANY if "MaxSubmit" in why else "slurm/site.yaml has what jobs ask for."
    return printable(f"{getattr(record, 'rule_name', '')}: not submitted: {why}. {where}")


def of_machine(record: logging.LogRecord) -> str:
    """What the machine refused Snakemake, in a line, where a record is the traceback of just that; "" for others."""
    error = sys.exc_info()[1]  # Snakemake logs a traceback while it handles the error
    if not isinstance(error, OSError) or not TRACEBACK.search(record.getMessage()):
        return ""
    return str(for_user(OSError(error.errno, error.strerror, error.filename or OWN_FILES)) or "")


class _Printer(logging.Handler):
    """Prints what Slurm or the machine refused, also where Snakemake is called with `--quiet`."""

    def emit(self, record: logging.LogRecord) -> None:
        if line := of_slurm(record) or of_machine(record):
            print(f"stages: {line}", file=sys.stderr, flush=True)


def leave_out(logger: logging.Logger) -> None:
    """Keep such lines off the terminal, and say what Slurm and the machine say; a log file has another handler."""
    for handler in logger.handlers:
        if handler.name == STREAM:
            handler.addFilter(lambda record: not (needless(record) or of_machine(record)))
    logger.addHandler(_Printer())
    logging.raiseExceptions = False  # else each line for a log file on a full disk is a traceback on the terminal
