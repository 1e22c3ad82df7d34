"""Writes results/records/mutation.md from what mutmut left in mutants/: `python -m tests.mutants.survivors`.

`make mutation` calls it, after the pieces have been run (`tests.mutants.mutation`). Every mutant that survives needs an
entry in survivors.yaml, by module, function and line, that says why no test can see it. An entry with a test instead
is a survivor of an earlier run, which that test has to kill. The record is written in any case; the exit code is 1
where an entry is missing or no longer true. A module of which not all mutants were run is listed, and not judged.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

from stages.store.files import write_atomic
from tests.mutants.mutation import NOTICED, folder_of
from tests.mutants.pieces import PIECES, Piece

REVIEWED = Path(__file__).with_suffix(".yaml")
NEVER = re.compile(r"assert_never\([^()]*\)")
INTRODUCTION = """\
# Mutation of the code

mutmut changes one operator, number, word or argument at a time, and runs those tests of the module's piece
(tests/mutants/pieces.py) that reach the changed function. Killed: a test fails. Timeout: the tests do not end.
Survived: all of them pass. The commit is that at which the last of a module's mutants was run. Written by
`make mutation`, which goes on where it was broken off.

"""
Place = tuple[str, str, str, str]
Entries = Mapping[Place, Mapping[str, str]]


@dataclass(frozen=True)
class Mutant:
    """One change of one function: the lines taken away, those put in their place, and what became of it."""

    module: str
    function: str
    was: str
    becomes: str
    status: str

    @property
    def place(self) -> Place:
        """What survivors.yaml names it by: mutmut's numbers change with every edit of the function."""
        return self.module, self.function, self.was, self.becomes

    @property
    def for_mypy(self) -> bool:
        """Whether it changes only what `assert_never` says, which mypy proves to be never reached."""
        branch = NEVER.fullmatch(self.was.removeprefix("case _: "))
        return bool(branch) and (not self.becomes or bool(NEVER.fullmatch(self.becomes)))


@dataclass(frozen=True)
class Module:
    """A module of which all mutants were run, and the commit at which the last of them was."""

    name: str
    mutants: Sequence[Mutant]
    commit: str

    def count(self, status: str) -> int:
        """How many mutants came to this."""
        return sum(mutant.status == status for mutant in self.mutants)


def tried(root: Path, piece: Piece) -> Iterator[Module]:
    """The modules of a piece whose mutants were all made and run."""
    folder = folder_of(root, piece)
    for source in piece.sources(root):
        meta = folder / "mutants" / f"{source}.meta"
        codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.is_file() else {"": None}
        tried = {name: code for name, code in codes.items() if code is not None}
        if len(tried) == len(codes):
            with chdir(folder):
                mutants = [_mutant(source, name, code) for name, code in tried.items()]
            yield Module(source.removeprefix("stages/"), mutants, (folder / "commit.txt").read_text())


def _mutant(source: str, name: str, code: int) -> Mutant:
    diff = get_diff_for_mutant(name, path=source).splitlines()[2:]
    was, becomes = (" ".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
    function = name.rpartition(".")[2].rpartition("__mutmut_")[0]
    return Mutant(source.removeprefix("stages/"), _plain(function), was, becomes, status_by_exit_code[code])


def _plain(mangled: str) -> str:
    """A function's name as the code has it: mutmut writes x_plan, and xǁPlanǁwindows for a method."""
    return ".".join(mangled.split("ǁ")[1:]) if "ǁ" in mangled else mangled.removeprefix("x_")


def reviewed() -> Entries:
    """survivors.yaml: by place, why a mutant survives, or which test kills it now."""
    modules: dict[str, list[dict[str, Any]]] = yaml.safe_load(REVIEWED.read_text())
    return {
        (module, entry["function"], entry["was"], becomes): {key: entry[key] for key in ("why", "test") if key in entry}
        for module, entries in modules.items()
        for entry in entries
        for becomes in entry["becomes"]
    }


def wrong(modules: Sequence[Module], entries: Entries) -> list[str]:
    """Survivors without a reason, and entries that are not true any more, of the modules that were run."""
    mutants = {mutant.place: mutant for module in modules for mutant in module.mutants}
    ran = {module.name for module in modules}
    missing = [place for place, one in mutants.items() if one.status not in NOTICED and _why(one, entries) is None]
    gone = [place for place in entries if place[0] in ran and place not in mutants]
    killed = [place for place, said in entries.items() if "why" in said and _noticed(mutants.get(place))]
    sentences = {"no reason is given for": missing, "there is no such mutant:": gone, "is killed after all:": killed}
    return [f"{sentence} {' | '.join(place)}" for sentence, places in sentences.items() for place in places]


def _noticed(mutant: Mutant | None) -> bool:
    return mutant is not None and mutant.status in NOTICED


def _why(mutant: Mutant, entries: Entries) -> str | None:
    if mutant.for_mypy:
        return "for mypy alone: no value of the type leads there"
    return entries.get(mutant.place, {}).get("why")


def markdown(root: Path, modules: Sequence[Module], entries: Entries) -> str:
    """The record: a table of modules, then every survivor with its reason, then those that a new test kills."""
    lines = [f"{datetime.now(UTC):%Y-%m-%d}.", "", *_table(modules), ""]
    every = {source.removeprefix("stages/") for piece in PIECES for source in piece.sources(root)}
    left = ", ".join(f"`{name}`" for name in sorted(every - {module.name for module in modules}))
    lines += [f"Not run, or not to the end: {left or 'none'}.", ""]
    lines += [
        "## Survivors",
        "",
        "| module | function | line | becomes | why no test sees it |",
        "|---|---|---|---|---|",
    ]
    lines += [
        _row(*mutant.place, _why(mutant, entries) or "**not explained**")
        for module in modules for mutant in module.mutants if mutant.status not in NOTICED
    ]  # fmt: skip
    lines += ["", "## Survivors of earlier runs that a test kills now", ""]
    lines += ["| module | function | line | became | killed by |", "|---|---|---|---|---|"]
    lines += [_row(*place, f"`{said['test']}`") for place, said in entries.items() if "test" in said]
    return INTRODUCTION + "\n".join(lines) + "\n"


def _table(modules: Sequence[Module]) -> Iterator[str]:
    yield "| module | tried | killed | timeout | survived | commit |"
    yield "|---|---|---|---|---|---|"
    sums: Counter[str] = Counter()
    for module in modules:
        killed, late, all_of = module.count("killed"), module.count("timeout"), len(module.mutants)
        sums.update(tried=all_of, killed=killed, timeout=late)
        yield f"| `{module.name}` | {all_of} | {killed} | {late} | {all_of - killed - late} | {module.commit} |"
    left = sums["tried"] - sums["killed"] - sums["timeout"]
    yield f"| all | {sums['tried']} | {sums['killed']} | {sums['timeout']} | {left} | |"


def _row(module: str, function: str, was: str, becomes: str, last: str) -> str:
    return "| " + " | ".join([*map(_code, (module, function, was, becomes)), last]) + " |"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`" if text else "(nothing)"


def main() -> None:
    root = Path.cwd()
    modules = [module for piece in PIECES for module in tried(root, piece)]
    entries = reviewed()
    write_atomic(root / "results" / "records" / "mutation.md", markdown(root, modules, entries).encode())
    errors = wrong(modules, entries)
    print("\n".join(errors))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
