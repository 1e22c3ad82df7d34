"""docs/from-yaml-to-bytes.md: every name is in the file that it links to, and the quoted line is a spec's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from stages.contract import ledger, schedule
from stages.spec.project import Project

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "from-yaml-to-bytes.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\[`([\w.]+)`\]\(([^)]+\.py)\)", TEXT)


def defined(path: Path) -> set[str]:
    """The module's own dotted names: functions, classes, their methods, each with and without the module's name."""
    names = {path.stem}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{one.name}" for one in inner if isinstance(one, ast.FunctionDef)}
    above = path.parent.name
    return names | {f"{path.stem}.{name}" for name in names} | {f"{above}.{path.stem}.{name}" for name in names}


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_every_name_is_defined_where_the_page_says(name: str, link: str) -> None:
    assert name in defined((DOCS / link).resolve())


def test_the_page_is_short_and_every_step_has_a_name() -> None:
    assert len(TEXT.splitlines()) <= 60
    steps = re.split(r"^\d+\. ", TEXT, flags=re.MULTILINE)[1:]
    assert len(steps) == 20
    assert all("](../stages/" in step for step in steps)


def test_the_line_and_the_numbers_are_the_specs() -> None:
    root = DOCS.parent
    (line,) = re.findall(r"```yaml\n(.*)\n```", TEXT)
    assert line in (root / "specs/ouro/pipeline.yaml").read_text(encoding="utf-8")
    resolved = Project.load(root).resolve("ouro", "mini")
    stage = resolved.stages["warmup"]
    (phase,) = stage.phases
    assert stage.schedule is not None
    first, last = ledger.step_at(phase, 0), phase.clock_start + phase.budget
    assert f"{schedule.lr(stage.schedule, first.end):.2e}".replace("e-0", "e-") == "1.04e-4"
    assert (schedule.lr(stage.schedule, last), ledger.count(phase)) == (7.5e-3, 73)
    assert resolved.keys["warmup"].startswith("cc3cf3ce")
