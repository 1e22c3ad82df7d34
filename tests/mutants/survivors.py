"""Writes results/records/mutation.md from what mutmut left in mutants/: `python -m tests.mutants.survivors`.

`make mutation` calls it. Every mutant that survives needs an entry in survivors.yaml, by function and line, that says
why no test can see it. An entry with a test instead is a survivor of an earlier run, which that test has to kill. The
record is written in any case; the exit code is 1 where an entry is missing or no longer true.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

from stages.report.commit import commit
from stages.store.files import write_atomic

REVIEWED = Path(__file__).with_suffix(".yaml")
PACKAGES = ("contract", "data", "train", "store")
DETECTED = ("killed", "timeout")  # a loop without an end does not pass either
COLUMNS = ("killed", "timeout", "survived")
INTRODUCTION = """\
# Mutation of the code

mutmut changes one operator, number, word or argument at a time; the tests in `pyproject.toml` ([tool.mutmut]) are run
on each. Killed: a test fails. Timeout: the tests do not end. Survived: all of them pass. Written by `make mutation`.

"""


@dataclass(frozen=True)
class Mutant:
    """One change of one function: the lines taken away, those put in their place, and what became of it."""

    module: str
    function: str
    was: str
    becomes: str
    status: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What an entry of survivors.yaml names it by: mutmut's numbers change with every edit of the function."""
        return self.function, self.was, self.becomes


def tried(root: Path) -> Iterator[Mutant]:
    """All mutants that mutmut has made and run; raises ValueError where a run was broken off."""
    for meta in sorted((root / "mutants" / "stages").rglob("*.py.meta")):
        module = meta.relative_to(root / "mutants").with_suffix("")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            diff = get_diff_for_mutant(name, path=module).splitlines()[2:]
            was, becomes = (" ".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
            function = name.rpartition(".")[2].rpartition("__mutmut_")[0]
            if code is None:
                raise ValueError(f"{name} was not run: `mutmut run` goes on where it was broken off")
            yield Mutant(str(module), _plain(function), was, becomes, status_by_exit_code[code])


def _plain(mangled: str) -> str:
    """A function's name as the code has it: mutmut writes x_plan, and xǁPlanǁwindows for a method."""
    return ".".join(mangled.split("ǁ")[1:]) if "ǁ" in mangled else mangled.removeprefix("x_")


def reviewed() -> dict[tuple[str, str, str], dict[str, str]]:
    """survivors.yaml: by function and lines, why a mutant survives, or which test kills it now."""
    entries: list[dict[str, Any]] = yaml.safe_load(REVIEWED.read_text())
    found = {}
    for entry in entries:
        for becomes in entry["becomes"]:
            said = {key: entry[key] for key in ("why", "test") if key in entry}
            found[entry["function"], entry["was"], becomes] = said
    return found


def wrong(mutants: list[Mutant], entries: dict[tuple[str, str, str], dict[str, str]]) -> list[str]:
    """Survivors without a reason, and entries that are not true any more."""
    status = {mutant.place: mutant.status for mutant in mutants}
    missing = [m.place for m in mutants if m.status not in DETECTED and "why" not in entries.get(m.place, {})]
    gone = [place for place in entries if place not in status]
    killed = [place for place, entry in entries.items() if "why" in entry and status.get(place) in DETECTED]
    sentences = {"no reason is given for": missing, "there is no such mutant:": gone, "is killed after all:": killed}
    return [f"{sentence} {' | '.join(place)}" for sentence, places in sentences.items() for place in places]


def markdown(root: Path, mutants: list[Mutant], entries: dict[tuple[str, str, str], dict[str, str]]) -> str:
    """The record: a table of modules, then every survivor with its reason, then those that a new test kills."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in mutants:
        by_module[mutant.module][mutant.status] += 1
    lines = [f"{datetime.now(UTC):%Y-%m-%d}, commit {commit(root)}, `make mutation`.", ""]
    lines += [f"| module | tried | {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
    counted = [(f"`{module}`", counts) for module, counts in sorted(by_module.items())]
    for name, counts in [*counted, ("all", sum(by_module.values(), Counter()))]:
        lines.append(f"| {name} | {counts.total()} | {' | '.join(str(counts[column]) for column in COLUMNS)} |")
    every = {str(path.relative_to(root)) for part in PACKAGES for path in (root / "stages" / part).rglob("*.py")}
    left = sorted(path for path in every - by_module.keys() if (root / path).stat().st_size)
    lines += ["", "Not run: " + ", ".join(f"`{path.removeprefix('stages/')}`" for path in left) + ".", ""]
    survivors = [mutant for mutant in mutants if mutant.status not in DETECTED]
    lines += ["## Survivors", "", "| function | line | becomes | why no test sees it |", "|---|---|---|---|"]
    lines += [_row(*m.place, entries.get(m.place, {}).get("why", "**not explained**")) for m in survivors]
    lines += ["", "## Survivors of earlier runs that a test kills now", ""]
    lines += ["| function | line | became | killed by |", "|---|---|---|---|"]
    lines += [_row(*place, f"`{entry['test']}`") for place, entry in entries.items() if "test" in entry]
    return INTRODUCTION + "\n".join(lines) + "\n"


def _row(function: str, was: str, becomes: str, last: str) -> str:
    return "| " + " | ".join([_code(function), _code(was), _code(becomes), last]) + " |"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def main() -> None:
    root = Path.cwd()
    mutants, entries = list(tried(root)), reviewed()
    write_atomic(root / "results" / "records" / "mutation.md", markdown(root, mutants, entries).encode())
    errors = wrong(mutants, entries)
    print("\n".join(errors))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
