"""What notices and findings say of a project whose specs can all be read: of others, they say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from stages.check.findings import SPEC, Finding
from stages.spec.loader import LoadedPipeline
from stages.spec.project import Project
from tests.mutants.mutant import ROOT


def of_all(project: Project, tell: Callable[[LoadedPipeline], Iterable[str]]) -> list[str]:
    """What a notice says of every pipeline."""
    assert [one.name for one in project.loadable] == list(project.pipelines(variants=True)), "an edit broke a spec"
    return list(dict.fromkeys(notice for one in project.loadable for notice in tell(one)))


def only(findings: Iterable[Finding], id: str) -> list[Finding]:
    """Those of one invariant, where no spec was refused before it was looked for."""
    found = list(findings)
    assert not [one for one in found if one.id == SPEC], "an edit broke a spec"
    return [one for one in found if one.id == id]


def line(finding: Finding, root: Path = ROOT) -> str:
    """The text of the line that a finding names."""
    assert finding.where is not None
    return (root / finding.where.file).read_text().splitlines()[finding.where.line - 1].strip()
