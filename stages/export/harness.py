"""lm-evaluation-harness on an export, under whatever interpreter has it.

It is run as a program of its own: its requirements need not agree with the versions that results here were made with.
https://github.com/EleutherAI/lm-evaluation-harness, 0.4.9 and later.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import UsageError, UserError
from stages.store import json_file, lm_eval_tasks

LENGTHS = tuple(2**power for power in range(12, 18))  # of RULER's rows in the harness: 4096 to 131072 tokens
VERSION = "import importlib.metadata as m; print(m.version('lm_eval'))"
UNKNOWN = """
import json, sys
from lm_eval.tasks import TaskManager
tasks, folder = json.loads(sys.argv[1])
known = set(TaskManager(include_path=folder).all_tasks)
for task in tasks:
    if task not in known:
        print("unknown", task)
"""
UNMEASURED = -1  # what RULER's tasks give for a length that no row had
TAIL = 12  # lines of what the harness printed
RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): ")  # the last line of a traceback
# What the harness says -> what that means here.
MEANINGS = {
    "Tasks not found": "`lm_eval ls tasks`, under that interpreter, lists the tasks that there are.",
    "Couldn't reach|LocalEntryNotFound|OfflineModeIsEnabled|ConnectionError|Max retries|Resource .*punkt": (
        "Its documents come from a network, which is not there: run it where one is, or copy the caches of `datasets` "
        "(HF_HOME) and of `nltk` (NLTK_DATA) here. Of RULER's tasks, niah_single_1 alone needs none."
    ),
    "Could not generate any sample": "RULER's rows are longer than the model's context.",
}


@dataclass(frozen=True)
class Asked:
    """What to evaluate: task names, a folder with tasks of one's own, and how many documents of each at most."""

    tasks: tuple[str, ...]
    folder: Path | None
    limit: int | None


def version(python: Path) -> str:
    """The harness's version under an interpreter. Raises UserError, with what to type, where it is not installed."""
    try:
        found = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"--lm-eval-python: {python} cannot be run ({error.strerror})") from None
    if found.returncode:
        raise UserError(
            f"--lm-eval: lm-evaluation-harness is not installed for {python}. `make lm-eval` makes an environment for "
            "it, which is found by itself; `pip install 'stages[lm-eval]'` installs it beside stages; and "
            "`--lm-eval-python` names another interpreter that has it."
        )
    return found.stdout.strip()


def run(python: Path, export: Path, requested: Asked, remote_code: bool, longest: int, out: Path) -> dict[str, Any]:
    """Numbers by task. `longest` is the model's context, in tokens; `out` a folder for what the harness writes.

    Raises UserError, with the end of its output, where it fails or finds what is not a finite number.
    """
    lengths = [one for one in LENGTHS if one <= longest] or [longest]
    command = [
        str(python), "-m", "lm_eval", "run", "--model", "hf",
        "--model_args", json.dumps(_model(export, remote_code, longest), allow_nan=False),
        "--tasks", ",".join(requested.tasks), "--batch_size", "1", "--output_path", str(out),
        "--metadata", json.dumps({"tokenizer": str(export), "max_seq_lengths": lengths}, allow_nan=False),
        *([] if requested.limit is None else ["--limit", str(requested.limit)]),
        *([] if requested.folder is None else ["--include_path", str(requested.folder)]),
    ]  # fmt: skip
    done = subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    found = sorted(out.rglob("results_*.json"))
    if done.returncode or not found:
        raise UserError(
            f"lm-evaluation-harness ended with {done.returncode}, and wrote no results. It said:\n{_why(done.stdout)}"
        )
    return _numbers(json_file.read(found[-1]), requested)


def _why(output: str) -> str:
    """The error that ended it, and what to do; where none is to be seen, the end of its output."""
    lines = output.splitlines()
    raised = next((number for number in reversed(range(len(lines))) if RAISED.match(lines[number])), len(lines) - TAIL)
    shown = "\n".join(lines[max(0, raised) :][:TAIL])
    return "\n".join([shown, *(what for pattern, what in MEANINGS.items() if re.search(pattern, shown))])


def unknown(python: Path, requested: Asked) -> list[str]:
    """Of the tasks that are requested, those that neither the harness nor the folder has.

    Raises UserError, with the end of its output, where it gives no answer.
    """
    words = json.dumps([requested.tasks, None if requested.folder is None else str(requested.folder)], allow_nan=False)
    done = subprocess.run(
        [python, "-c", UNKNOWN, words], env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"lm-evaluation-harness does not say which tasks it has:\n{_why(done.stderr)}")
    return [line.removeprefix("unknown ") for line in done.stdout.splitlines() if line.startswith("unknown ")]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _model(export: Path, remote_code: bool, longest: int) -> dict[str, Any]:
    made = {"pretrained": str(export), "dtype": "float32", "max_length": longest}
    return made | ({"trust_remote_code": True} if remote_code else {})


def _numbers(found: Mapping[str, Any], requested: Asked) -> dict[str, Any]:
    """The metrics of each task, with its version and the number of documents.

    The tasks of a tag stand under their own names; the tag says how many documents they had. Raises UserError for a
    metric that is not finite; an error of the mean that is not known is left out.
    """
    made: dict[str, Any] = {}
    own = {"limit": requested.limit, **lm_eval_tasks.definitions(requested.folder)}
    for task, metrics in sorted(found["results"].items()):
        made[task] = {"documents": found.get("n-samples", {}).get(task, {}).get("effective")}
        made[task] |= {"version": found.get("versions", {}).get(task), **own}
        for name, value in metrics.items():
            metric, _, kind = name.partition(",")
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if metric == "sample_len" or (metric.isdecimal() and value == UNMEASURED):
                continue
            if not math.isfinite(value):
                if metric.endswith("_stderr"):
                    continue
                raise UserError(f"lm-evaluation-harness: {task}: {name}: found {value}; allowed: finite numbers.")
            made[task][metric if kind in ("", "none") else f"{metric}_{kind}"] = value
    rest = sum(one["documents"] or 0 for task, one in made.items() if task not in requested.tasks)
    return made | {tag: {"documents": rest, "version": None, **own} for tag in requested.tasks if tag not in made}


def interpreter(named: Path | None, root: Path) -> Path:
    """The interpreter that is named; else the one that has the harness; else this one, which does not."""
    return named.absolute() if named is not None else lm_eval_tasks.installed(root) or Path(sys.executable)
