"""Published recipes as numbers: each is rebuilt from the facts of a file in `public`, without any of its text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stages.audit import order, run
from stages.audit.readers import tree
from stages.audit.recipe import Pipeline, Slip, Stage, Value
from stages.errors import Where

FOLDER = Path(__file__).parent / "public"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@dataclass(frozen=True)
class Published:
    """A recipe, where it was published, and what was read of it: its pipeline and the findings that are expected."""

    name: str
    repository: str
    commit: str
    pipeline: Pipeline
    findings: list[dict[str, Any]]


@cache
def published(name: str) -> Published:
    """The recipe of one file, with the hand-overs that its publication states."""
    text = (FOLDER / f"{name}.yaml").read_text()
    facts = yaml.safe_load(text)
    stages = [_stage(one, said) for one, said in facts["recipes"].items()]
    said = order.read(tree.parse(yaml.safe_dump({"recipes": facts.get("order", {})}), "audit.yaml"))
    source = facts["source"]
    pipeline = run.pipeline(stages, said, [])
    return Published(facts["name"], source["repository"], source["commit"], pipeline, facts.get("findings", []))


def _stage(name: str, facts: dict[str, Any]) -> Stage:
    """A figure is written as its value and its line; `data` as the number of its sets."""
    values = {}
    for figure, (value, line) in facts["figures"].items():
        where = Where(facts["file"], line)
        if figure.startswith("data") and isinstance(value, int) and not figure.startswith("data_from"):
            value = tuple(f"set {number}" for number in range(value))
        read = tuple(value) if isinstance(value, list) else value
        values[figure] = Value(read, where, figure, "not published" if value is None else None)
    slips = tuple(
        Slip(kind, Where(facts["file"], line), "as published", "once", certain)
        for kind, line, certain in facts.get("slips", [])
    )
    return Stage(name, facts["framework"], Where(facts["file"], facts["line"]), values, slips=slips)
