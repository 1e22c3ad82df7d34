"""What each of the three says is to be run, and what a tool then really did: read from results, not from its words."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.agreement.project import Project

Names = frozenset[str]  # stages and corpora as rules are called: toy__joint, data__math


def status(project: Project, deep: bool = False) -> Names:
    """What `stages status` calls stale, missing or failed."""
    said = project.call("stages", "status", "--json", *(["--deep"] if deep else []))
    assert said.out, said.err
    return frozenset(one["stage"].replace("/", "__") for one in json.loads(said.out) if one["state"] != "done")


def listed(project: Project) -> Names:
    """The jobs of `snakemake -n`."""
    said = project.type("snakemake", "-n", "--quiet", "host")
    return frozenset(re.findall(r"^((?:toy|data)__\w+) +1$", said, re.MULTILINE))


@dataclass(frozen=True)
class State:
    """Where each result lies (the folder's inode: a new result is a new folder), and all attempts at stages."""

    places: dict[str, int]
    attempts: dict[str, str]


def look(project: Project) -> State:
    results = project.root / "results"
    places = {f"{path.parent.name}__{path.name}": path.stat().st_ino for path in results.glob("mini/*/[a-z]*/")}
    attempts = {
        path.parent.relative_to(results).as_posix(): json.loads(path.read_bytes())["ref"].replace("/", "__")
        for path in results.glob(".runs/*/attempt-*/attempt.json")
    }
    return State(places, attempts)


@dataclass(frozen=True)
class Did:
    """What lies between two looks: stages trained, corpora prepared, results put back without training."""

    trained: Names
    prepared: Names
    put_back: Names

    @property
    def all(self) -> Names:
        return self.trained | self.prepared | self.put_back


def between(before: State, after: State) -> Did:
    trained = frozenset(after.attempts[path] for path in after.attempts.keys() - before.attempts.keys())
    new = {name for name, place in after.places.items() if before.places.get(name) != place}
    prepared = frozenset(name for name in new if name.startswith("data__"))
    return Did(trained, prepared, frozenset(new) - trained - prepared)


def calls(said: str) -> Names:
    """The stages that `dvc repro` says it ran, whatever came of it."""
    return frozenset(re.findall(r"^Running stage '(\w+)'", said, re.MULTILINE))
