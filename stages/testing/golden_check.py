"""One golden against what was found: equal, or a message, or what an update will write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from stages.testing import differences, golden
from stages.testing.golden import GoldenError


@dataclass(frozen=True)
class Change:
    """A difference in words: what changed, from which step on, by how much at most; `text` has everything."""

    what: str
    first: str
    largest: str
    text: str

    def row(self, name: str) -> list[str]:
        """As a line of the table of an update."""
        return [name, self.what, self.first, self.largest]


def tree(old: Mapping[str, Any], new: Mapping[str, Any]) -> Change | None:
    """The difference of two pages; None where there is none."""
    found = differences.changes(old, new)
    if not found and golden.dump(old) == golden.dump(new):
        return None
    what = f"{len(found)} values changed" if found else "order of fields"
    most = differences.largest(found)
    return Change(what, "", most.removeprefix("largest change "), f"{what}, {most}\n{differences.listed(found)}")


@dataclass
class GoldenChecker:
    """Compares what tests find with the goldens of a project."""

    root: Path
    update: bool
    beside: Mapping[str, Any] = field(default_factory=dict)  # what else a golden is made from

    @cached_property
    def made_from(self) -> dict[str, Any]:
        """What a golden made now is made from, besides its stage's key."""
        found = golden.about(self.root)
        if not self.beside:
            return found
        # A loop that is not this project's does not follow from the package's code.
        del found["code"]
        return {**found, **self.beside, "environment": {**found["environment"], **self.beside["environment"]}}

    def check(
        self,
        item: pytest.Item,
        path: Path,
        found: Mapping[str, Any],
        *,
        key: Mapping[str, str] | None = None,
        environment: str = "",
        compare: Callable[[Mapping[str, Any], Mapping[str, Any]], Change | None] = tree,
        specs: Callable[[], list[tuple[str, Any, Any]]] = list,
        elsewhere: Callable[[Mapping[str, Any]], str] | None = None,
        again: str,
    ) -> None:
        """Raise GoldenError where `found` is not the golden at `path`; with an update, note what is to be written.

        `elsewhere` judges an environment that no golden knows by those of others, and says in words what it found.
        `again` is the command line, beyond pytest, that updates this golden.
        """
        content, about = golden.read(path), {**self.made_from, **({"key": dict(key)} if key else {})}
        if content and ("environments" in content) != bool(environment):
            raise GoldenError(f"{path}: the golden of another kind of test; restore it, or delete it and update.")
        if environment:
            content = content.get("environments", {})
        entry = content.get(environment) if environment else content
        name = shown(path, self.root)
        if not entry:
            self._unknown(item, path, name, found, about, environment, content, elsewhere, again)
            return
        change = compare(entry["golden"], found)
        if change is None:
            return
        if self.update:
            _note(item, path, found, about, environment, change.row(name))
            return
        since = differences.since(entry["about"], about, self.root, specs())
        raise GoldenError(f"{name}: {change.text}\n{since}\nIf this is meant: {command(again)}")

    def _unknown(
        self,
        item: pytest.Item,
        path: Path,
        name: str,
        found: Mapping[str, Any],
        about: Mapping[str, Any],
        environment: str,
        others: Mapping[str, Any],
        elsewhere: Callable[[Mapping[str, Any]], str] | None,
        again: str,
    ) -> None:
        if self.update:
            _note(item, path, found, about, environment, [name, "new", "", ""])
        elif others and elsewhere is not None:
            where = elsewhere({one: entry["golden"] for one, entry in others.items()})
            item.user_properties.append(("stages-note", f"{name}: environment {environment} not seen before; {where}"))
        else:
            item.user_properties.append(("stages-missing", name))
            raise GoldenError(f"{name}: there is no golden. Make it: {command(again)}")


def _note(
    item: pytest.Item, path: Path, found: Any, about: Mapping[str, Any], environment: str, row: list[str]
) -> None:
    change = {"path": str(path), "environment": environment, "golden": found, "about": dict(about), "row": row}
    item.user_properties.append(("stages-change", change))


def shown(path: Path, root: Path) -> str:
    """A path below the root from there, any other in full."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def command(again: str) -> str:
    """What updates a golden; `again` is what follows pytest."""
    return f'pytest {again} --stages-update --stages-reason "..."'
