"""results/records/agreement.md: `python -m tests.agreement.table` lets every event happen, and writes the table."""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from itertools import product
from pathlib import Path

from tests.agreement import project as small
from tests.agreement.events import EVENTS, Event
from tests.agreement.trial import HEALERS, Outcome, attempt
from tests.agreement.verdicts import Names

PATH = Path(__file__).resolve().parents[2] / "results/records/agreement.md"
TEXT = """\
# Snakemake, DVC and stages status agree

Every event below was made in a copy of one small trained project: six stages with a fork and a merge, five corpora,
under git and DVC with a folder as its remote.

```
text ─┬─ kept ─┐
      │        ├─ joint ─ release
      │  vit ──┘
      └─ chat
```

"To be run" is what `stages status` calls stale, missing, stopped or failed, what `snakemake -n` lists, and what
`snakemake` and, in another copy, `dvc repro` then did: one set, or the four are listed apart.
"Idle calls" are DVC's calls that end with nothing done: it compares values as they are written, and a stage's whole
file. Afterwards `stages status`, `snakemake -n` and `dvc status` had nothing to do (after a direct `snakemake`,
once `stages record-dvc` was run).

| event | to be run | done by | idle calls of dvc repro | clean after it |
|---|---|---|---|---|
{rows}

- A deleted, damaged or flipped result is rebuilt alone: the rerun gives the bits that its children were built on.
- A flipped bit leaves size and time as they were. `stages status --deep` finds it; from then on every command knows.
- A killed stage goes on from its last checkpoint. A failed one waits for its spec to be mended.
- Evaluations are repeated from a result's weights; this counts as putting back here, since nothing is trained.

Measured on {date} with Snakemake {snakemake}, DVC {dvc}, PyTorch {torch}, Python {python}. Written by
`python -m tests.agreement.table`.
"""


def row(event: Event, outcomes: Mapping[str, Outcome]) -> str:
    """One line: a set where all agree, else who says what."""
    first = outcomes["snakemake"]
    same = all(one.one and one.status == first.status for one in outcomes.values())
    run = names(first.status) if same else "; ".join(f"{tool}: {differing(one)}" for tool, one in outcomes.items())
    done = "; ".join(dict.fromkeys(how(one) for one in outcomes.values()))
    clean = "yes" if all(one.clean for one in outcomes.values()) else "NO"
    return f"| {event.name} | {run} | {done} | {names(outcomes['dvc repro'].idle)} | {clean} |"


def differing(one: Outcome) -> str:
    did = names(one.trained | one.prepared | one.put_back)
    return f"status {names(one.status)}, listed {names(one.listed)}, did {did}"


def how(one: Outcome) -> str:
    done = {"preparing": one.prepared, "training": one.trained, "putting back": one.put_back}
    return " and ".join(word for word, which in done.items() if which) or "-"


def names(which: Names) -> str:
    return ", ".join(sorted(name.removeprefix("toy__").replace("data__", "corpus ") for name in which)) or "-"


def rows(text: str) -> list[str]:
    """The lines of a page's table, without its head."""
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def main() -> None:
    """Measure and write; two at a time, which is what a small machine has cores for."""
    with tempfile.TemporaryDirectory() as folder:
        finished = small.finish(small.write(Path(folder) / "project"))

        def measure(case: tuple[Event, str]) -> Outcome:
            outcome = attempt(*case, finished)
            print(f"{case[1]}, {case[0].name}: {differing(outcome)}", file=sys.stderr)
            return outcome

        cases = list(product(EVENTS, HEALERS))
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            outcomes = dict(zip(cases, pool.map(measure, cases), strict=True))
    write(outcomes)


def write(outcomes: Mapping[tuple[Event, str], Outcome]) -> None:
    """The page, dated today."""
    lines = [row(event, {healer: outcomes[event, healer] for healer in HEALERS}) for event in EVENTS]
    versions = {name: metadata.version(name) for name in ("snakemake", "dvc", "torch")}
    python = ".".join(map(str, sys.version_info[:3]))
    today = datetime.date.today().isoformat()
    PATH.write_text(TEXT.format(rows="\n".join(lines), date=today, python=python, **versions), encoding="utf-8")


if __name__ == "__main__":
    main()
