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
from stages.diff import render, screen
from stages.errors import UserError
from stages.spec.project import Project
from tests.mutants.mutant import ROOT
from tests.unit.spec import small_project

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?=[KMBT]?i?\b|%)")
FACTORS = ("2 * {}", "{} / 2", "10 * {}", "{} + 1", "0 * {}")
WORDS = (
    ("clock: continue", "clock: reset"), ("data: continue", "data: restart"), ("shape: cosine", "shape: linear"),
    ("optimizer: inherit", "optimizer: reset"), ("document_mask: true", "document_mask: false"),
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
    value = {"2 * {}": 2 * was, "{} / 2": was / 2, "10 * {}": 10 * was, "{} + 1": was + 1, "0 * {}": 0}[
        draw(st.sampled_from(FACTORS))
    ]
    return text[: place.start()] + f"{value:g}" + text[place.end() :]


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
    assert found.semantic == (keys(sides[0], scale) != keys(sides[1], scale))


def keys(side: tuple[str, Path], scale: str) -> dict[str, str]:
    return Project.load(side[1]).keys(scale)
