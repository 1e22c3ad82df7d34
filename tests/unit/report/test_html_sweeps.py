"""A sweep on a page: every variant in the table, the best named in words, table and picture, and what is not done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stages.commands.report import write_report
from stages.report.html.page import render
from stages.report.html.sweeps import Swept
from stages.spec.resolved import Stage
from stages.store.done import State
from tests.unit.report.make import ouro_like, write_result
from tests.unit.report.pages import HEAD, Balanced, subject
from tests.unit.spec import small_project

FIELD = "schedules.decay.0.to"
VALUES = {"low": "1e-5", "mid": "1e-4", "high": "1e-3"}
LOSSES = {"low": 3.25, "mid": 3.125, "high": 3.5}


def variants(labels: dict[str, str]) -> dict[str, Stage]:
    trunk = ouro_like("mini")["warmup"]
    return {f"decay_{label}": trunk.model_copy(update={"name": f"decay_{label}"}) for label in labels}


def section(root: Path, values: dict[str, str], losses: dict[str, float], field: str = FIELD) -> str:
    """The part of the page, of variants of which those with a loss are done."""
    stages, states = variants(values), dict[str, State]()
    for number, (label, loss) in enumerate(losses.items()):
        steps = [3.0 - 0.1 * number, 2.5 - 0.1 * number, 2.0 - 0.1 * number]
        write_result(root, stages[f"decay_{label}"], losses=steps, after={"validation": {"loss": loss}})
        states[f"decay_{label}"] = "done"
    swept = Swept("decay", field, {f"ouro/decay_{label}": value for label, value in values.items()})
    page = render(subject(root, stages, states, swept=(swept,)), HEAD)
    Balanced(page)
    assert '<a href="#sweeps">' in page
    found = re.search(r'<section id="sweeps">.*?</section>', page, flags=re.DOTALL)
    assert found is not None
    return found[0]


def test_the_best_is_named_in_words_table_and_picture(tmp_path: Path) -> None:
    text = section(tmp_path, VALUES, LOSSES)
    assert "best: decay_mid (schedules.decay.0.to: 1e-4), validation loss 3.1250; next decay_low (1e-5), 3.2500" in text
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", text, flags=re.DOTALL)
    names = [name for row in rows for name in re.findall(r"</span> (.*?)</a>", row)]
    assert names == ["decay_low", "decay_mid, best", "decay_high"]
    assert "2.9000 → 1.9000" in rows[1]
    assert all(value in row for value, row in zip(VALUES.values(), rows, strict=True))
    wide, _ = text.split('class="narrow"', 1)
    assert len(re.findall(r'class="mean s\d"', wide)) == 3
    full = re.findall(r'class="dot c0"><title>([^<]*)', text)
    assert full == ["decay_mid (1e-4): 3.1250, best"] * 2, "on a desk and on a phone"
    assert len(re.findall(r'class="dot c0 open"><title>', text)) == 4


def test_what_is_not_done_is_in_the_table_and_not_ranked(tmp_path: Path) -> None:
    text = section(tmp_path, VALUES, {"low": 3.25, "high": 3.5})
    assert "2 of 3 are done: the others are not compared" in text
    assert '<span class="state missing">missing</span>' in text
    none = section(tmp_path / "none", VALUES, {})
    assert "0 of 3 done; none has an evaluation to rank it by" in none
    assert "<figure>" not in none


def test_values_that_are_no_numbers_stand_side_by_side_and_are_texts(tmp_path: Path) -> None:
    values = {"low": "<b>cosine", "mid": "linear"}
    text = section(tmp_path, values, {"low": 3.25, "mid": 3.5}, "schedules.decay.0.shape")
    assert "<b>" not in text
    assert "&lt;b&gt;cosine" in text
    assert 'class="before c0"' not in text, "no line between words"


def test_more_variants_than_colours_are_told_apart_by_dashes(tmp_path: Path) -> None:
    many = {f"v{number}": str(number + 1) for number in range(10)}
    text = section(tmp_path, many, {label: 3.0 + number / 100 for number, label in enumerate(many)})
    lines = re.findall(r'class="(mean s\d[^"]*)"', text.split("<figcaption>")[0].split('class="narrow"')[0])
    assert len(set(lines)) == 10
    assert all(f'class="{one}"' in text.split("<figcaption>")[1] for one in lines), "and so in the legend"


def test_the_command_finds_the_sweeps_of_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_project.write(tmp_path / "project")
    with (root / "specs/toy/second.yaml").open("a") as file:
        file.write("variants: {field: seed, values: {one: 1, two: 2}}\n")
    (root / "specs/toy/release.yaml").unlink()
    small_project.edit(root, "toy/pipeline.yaml", "second, release]", "second]")
    small_project.edit(root, "toy/pipeline.yaml", "lineage: second", "lineage: second_one")
    monkeypatch.chdir(root)
    write_report(["toy"], "mini", tmp_path / "report")
    page = (tmp_path / "report/toy.html").read_text()
    assert "<h3>second, by seed</h3>" in page
    assert "0 of 2 done" in page
