"""`stages diff` of any edit of the specs says something on one screen, or names the mistake: it never fails."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.commands.diff import between
from stages.contract import hardware
from stages.diff import render, screen
from stages.diff.effects import effects
from stages.diff.semantic import Side, side
from stages.errors import UserError
from stages.spec.key import stage_key
from stages.spec.project import Project
from stages.spec.resolved import Stage
from tests.mutants.mutant import ROOT
from tests.unit.spec import small_project

CRAWL, BOOKS = (
    f"      - {{corpus: {one}, share: {share}%, group: text}}\n" for one, share in (("crawl", 70), ("books", 20))
)
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?=[KMBT]?i?\b|%)")
FACTORS = ("2 * {}", "{} / 2", "10 * {}", "{} + 1", "0 * {}", "1.00000001 * {}")
WORDS = (
    ("clock: continue", "clock: reset"), ("data: continue", "data: restart"), ("shape: cosine", "shape: linear"),
    (CRAWL + BOOKS, BOOKS + CRAWL), ("optimizer: inherit", "optimizer: reset"),
    ("document_mask: true", "document_mask: false"),
    ("  - name: long", "  - name: x"),
    ("stages: [first, second, release]", "stages: [first, second]"), ("schedule: main", "schedule: other"),
    ("from: first", "from: second"), ("llama3: none", "llama3: {factor: 8, low: 1, high: 4, original: 4Ki}"),
    ("mark: chosen", "mark: assumed, reason: a guess"), ("family: llama", "family: ouro, post_norm_gain: 0.05"),
    ("evaluate: [validation_loss]", "evaluate: []"), ("extends: toy\n", "extends: toy\ndrop: [release]\n"),
)  # fmt: skip


@st.composite
def edited(draw: st.DrawFn) -> dict[str, str]:
    """The small project's files with one to three edits: a number, a word, a line or a file."""
    files = dict(small_project.FILES)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        kind = draw(st.sampled_from(["number", "number", "word", "word", "line", "file"]))
        if kind == "number":
            files[name] = _number(draw, files[name])
        elif kind == "word":
            old, new = draw(st.sampled_from(WORDS))
            files = {one: text.replace(old, new) for one, text in files.items()}
        elif kind == "line":
            lines = files[name].splitlines(keepends=True)
            del lines[draw(st.integers(0, len(lines) - 1))]
            files[name] = "".join(lines)
        elif len(files) > 1:
            del files[name]
    return files


def _number(draw: st.DrawFn, text: str) -> str:
    places = list(NUMBER.finditer(text))
    if not places:
        return text
    place = draw(st.sampled_from(places))
    was = float(place[0])
    value = {
        "2 * {}": 2 * was,
        "{} / 2": was / 2,
        "10 * {}": 10 * was,
        "{} + 1": was + 1,
        "0 * {}": 0,
        "1.00000001 * {}": 1.00000001 * was,
    }[draw(st.sampled_from(FACTORS))]
    return text[: place.start()] + f"{value:.12g}" + text[place.end() :]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copytree(ROOT / "specs" / "hardware", root / "specs" / "hardware")
    return root


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(edited(), st.sampled_from(["paper", "mini"]), st.booleans())
def test_any_edit_is_told_on_one_screen(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str], scale: str, back: bool
) -> None:
    folder = tmp_path_factory.mktemp("diff")
    old, new = write(folder / "old", small_project.FILES), write(folder / "new", files)
    sides = (("new", new), ("old", old)) if back else (("old", old), ("new", new))
    try:
        found = between(*sides, scale, None)
    except UserError:
        return  # the edit is no spec, which its message says
    lines = screen.text(found).splitlines()
    assert len(lines) <= screen.LINES
    assert max(map(len, lines)) <= screen.WIDTH
    assert render.markdown(found)
    assert json.dumps(render.as_json(found), default=str)
    before, after = (of(*one, scale) for one in sides)
    assert found.semantic == (before.keys != after.keys)
    assert found.edits or not found.semantic, "what moves a key was edited"
    for ref in found.stale:
        assert own(before.stages[ref]) == own(after.stages[ref]), "other work, and nothing is said of it"
    for change in found.changed:
        assert effects(change)


def of(name: str, root: Path, scale: str) -> Side:
    project = Project.load(root)
    return side(name, project, scale, hardware.load(project.files, "h100"))


def own(stage: Stage) -> str:
    """The stage's key but for its parents' and its schedule's: earlier pieces of that are of other stages."""
    return stage_key(stage.model_copy(update={"schedule": None}), {parent: parent for parent in stage.parents})
