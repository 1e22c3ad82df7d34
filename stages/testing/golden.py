"""Goldens: readable YAML files, each with what it was made from, by whom it can be judged, and why it was changed.

A golden of what follows from specs alone is {about, golden}. One of numbers that a machine computed is
{environments: {id: {about, golden}}}: bits are promised within one environment only (docs/guarantees.md).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stages.errors import UserError
from stages.report.commit import commit
from stages.store import files, fingerprint

HEAD = "# Written by pytest --stages-update; do not edit by hand.\n"
Tree = Mapping[str, Any]


class GoldenError(UserError):
    """A golden that is missing, that cannot be read, or that something differs from."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Texts of several lines as blocks, and nothing aliased."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: Any, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(tree: Tree) -> str:
    """As it is written: what contains plain values only is one line."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=120, default_flow_style=None, allow_unicode=True)


def read(path: Path) -> dict[str, Any]:
    """What is in a golden's file; nothing where there is none. Raises GoldenError where it is no golden."""
    if not path.is_file():
        return {}
    try:
        found = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GoldenError(f"{path}: cannot be read as YAML ({error}); restore it, or delete it and update.") from error
    entries = found.get("environments") if isinstance(found, dict) and "environments" in found else {"": found}
    if not (isinstance(entries, dict) and all(_whole(one, name != "") for name, one in entries.items())):
        raise GoldenError(f"{path}: not a golden (about, golden); restore it, or delete it and update.")
    return dict(found)


def _whole(entry: Any, computed: bool) -> bool:
    """Whether an entry has the form that is written: people edit goldens by hand, and merges mix them up."""
    if not (isinstance(entry, dict) and isinstance(entry.get("about"), dict) and isinstance(entry.get("golden"), dict)):
        return False
    about, content = entry["about"], entry["golden"]
    if not all(isinstance(about.get(name, {}), dict) for name in ("key", "environment")):
        return False
    steps = content.get("steps")
    rows = isinstance(steps, list) and all(isinstance(step, dict) for step in steps)
    return not computed or (rows and isinstance(content.get("end", {}), dict))


def written(path: Path) -> bool:
    """Whether a file is one that an update wrote."""
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD.encode()


def write(path: Path, content: Tree) -> None:
    """Write a golden, whole or not at all."""
    files.make_dirs(path.parent)
    files.write_atomic(path, (HEAD + dump(content)).encode())


def about(root: Path) -> dict[str, Any]:
    """What a golden is made from: date, git revision, code, environment."""
    here = fingerprint.fingerprint()
    made = {"made": datetime.date.today().isoformat(), "revision": commit(root)}
    return {**made, "code": here["code"], "stages": fingerprint.version("stages"), "environment": environment(here)}


def environment(found: Mapping[str, object]) -> dict[str, Any]:
    """The fields of a fingerprint that people compare, lists as one text each."""
    kept = {name: value for name, value in found.items() if name not in ("code", "packages")}
    return {name: " ".join(map(str, value)) if isinstance(value, list) else value for name, value in kept.items()}


def flat(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value under its path, as `paper.phases.0.budget`; lines of a text under their number."""
    if isinstance(tree, Mapping) and tree:
        for name, one in tree.items():
            yield from flat(one, f"{above}.{name}" if above else str(name))
    elif isinstance(tree, list | tuple) and tree:
        for number, one in enumerate(tree):
            yield from flat(one, f"{above}.{number}")
    elif isinstance(tree, str) and "\n" in tree:
        for number, line in enumerate(tree.splitlines(), 1):
            yield f"{above} line {number}", line
    else:
        yield above, tree
