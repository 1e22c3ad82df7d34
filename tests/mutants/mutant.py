"""Mutants: pipelines with one defect each, made from the shipped ones, and the invariant that has to see it.

An edited mutant is a copy of specs/ with one text replaced, as an author would write it, and is run through
`stages check`. A bent mutant is a resolved pipeline with one value changed: what the loader would refuse, or what a
fault in it would produce. It proves the rule, and not that any spec can reach it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stages.check.context import Context
from stages.check.findings import Finding, unwaived
from stages.check.run import check, make_context
from stages.commands.check import run_checks
from stages.spec.project import Project
from tests import shipped

LLAMA, OURO = "llama31_1m", "ouro"  # pipelines other than the one that most mutants change
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edited:
    """The one match of the regular expression `old` in `file`, below specs/, becomes `new`."""

    file: str
    old: str
    new: str

    def commanded(self, folder: Path) -> tuple[int, frozenset[str]]:
        """The exit code of `stages check --json` on the edited specs, and the invariants that it names, none waived."""
        self.project(folder)
        out = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out):
            code = run_checks(None, as_json=True)
        return code, frozenset(one["invariant"] for one in json.loads(out.getvalue()) if one["waived"] is None)

    def project(self, folder: Path) -> Project:
        """A project in `folder` whose specs have the edit."""
        shipped.copy(folder)
        path = folder / "specs" / self.file
        path.write_text(self.edited(path.read_text()))
        return Project.load(folder)

    def edited(self, text: str) -> str:
        """The file's text with the edit."""
        found, times = re.subn(self.old, self.new, text, flags=re.MULTILINE)
        assert times == 1, f"{self.file} holds {self.old!r} {times} times"
        return found

    def findings(self, scale: str, pipeline: str, folder: Path) -> list[Finding]:
        """Of the pipeline whose file is edited; of `pipeline` where the file is shared."""
        project = self.project(folder)
        changed = self.file.partition("/")[0]
        name = changed if changed in project.pipelines(variants=True) else pipeline
        return list(check(make_context(project, name, scale)))


@dataclass(frozen=True)
class Bent:
    """A resolved pipeline with something changed."""

    change: Callable[[Context], Context]

    def findings(self, scale: str, pipeline: str, folder: Path) -> list[Finding]:
        return list(check(self.change(_shipped(pipeline, scale))))


@dataclass(frozen=True)
class Mutant:
    """A defect, where it is made, the invariant that must see it, and others that are expected to speak too.

    `refused` is set where the loader refuses the edit and no check is reached: it is then the loader that holds it,
    and its error names the invariant.
    """

    invariant: str
    defect: str
    made: Edited | Bent
    pipeline: str = "kimi_vl"
    scale: str = "mini"
    also: frozenset[str] = frozenset()
    refused: bool = False

    def seen_by(self, folder: Path) -> frozenset[str]:
        """The invariants with a finding that no waiver of the shipped specs excuses."""
        return frozenset(one.id for one in unwaived(self.made.findings(self.scale, self.pipeline, folder)))


_PROJECT = Project.load(ROOT)


@cache
def _shipped(pipeline: str, scale: str) -> Context:
    return make_context(_PROJECT, pipeline, scale)
