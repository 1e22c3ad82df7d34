"""Figures of models that no published model has: S-15."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.findings import Finding
from stages.check.run import run
from stages.spec.project import Project
from tests import shipped
from tests.unit.check.reported import only
from tests.unit.spec import small_project

FILE = "toy/pipeline.yaml"


def toy(folder: Path, *edits: str) -> list[Finding]:
    """What S-15 finds in the small project after edits of its pipeline, at both scales."""
    small_project.write(folder)
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        small_project.edit(folder, FILE, old, new)
    return [one for scale in ("paper", "mini") for one in only(run(Project.load(folder), scale), "S-15")]


@pytest.mark.parametrize(
    ("old", "new", "observed"),
    [
        ("norm_eps: 1e-5", "norm_eps: 1e-16", "norm_eps 1e-16"),
        ("norm_eps: 1e-5", "norm_eps: 1e-3", "norm_eps 0.001"),
        ("init_std: 0.02", "init_std: 0.2", "init_std 0.2"),
        ("init_std: 0.02", "init_std: 0.0002", "init_std 0.0002"),
    ],
)
def test_a_slip_of_a_digit_is_found_once_at_its_line(tmp_path: Path, old: str, new: str, observed: str) -> None:
    (finding,) = toy(tmp_path, old, new)
    key = new.partition(":")[0]
    assert (finding.observed, finding.at) == (observed, (f"models.small.{key}",))
    assert finding.where is not None
    assert new in (tmp_path / finding.where.file).read_text().splitlines()[finding.where.line - 1]


def test_a_scale_answers_for_what_it_changes(tmp_path: Path) -> None:
    toy(tmp_path)
    line = small_project.edit(tmp_path, "scales/mini.yaml", "small: {", "small: {init_std: 0.5, ")
    (finding,) = only(run(Project.load(tmp_path), "mini"), "S-15")
    assert (finding.observed, str(finding.where)) == ("init_std 0.5", f"specs/scales/mini.yaml:{line}")
    assert only(run(Project.load(tmp_path), "paper"), "S-15") == []


@pytest.mark.parametrize(
    "edits",
    [
        ("norm_eps: 1e-5", "norm_eps: 1e-12"),  # BERT's
        ("init_std: 0.02", "init_std: 0.1"),  # arXiv 2404.06395
        ("hidden: 64", "hidden: 16", "head_dim: 16", "head_dim: 4", "init_std: 0.02", "init_std: 0.25"),  # 1 / sqrt(16)
    ],
)
def test_what_some_model_has_is_right(tmp_path: Path, edits: tuple[str, ...]) -> None:
    assert toy(tmp_path, *edits) == []


def test_it_is_waived_in_pipeline_yaml(tmp_path: Path) -> None:
    toy(tmp_path, "init_std: 0.02", "init_std: 0.2")
    waiver = "{id: S-15, at: [models.small.init_std], found: 0.2, reason: outputs are scaled down}"
    with (tmp_path / "specs" / FILE).open("a") as file:
        file.write(f"waivers:\n  - {waiver}\n")
    (finding,) = [one for one in run(Project.load(tmp_path), "paper") if one.id == "S-15"]
    assert finding.waived == "outputs are scaled down"


def test_positions_of_a_vision_tower_are_not_those_of_long_text(tmp_path: Path) -> None:
    line = small_project.edit(
        shipped.copy(tmp_path), "kimi_vl/pipeline.yaml", "rope_base: 10_000", "rope_base: 800_000"
    )
    (finding,) = only(run(Project.load(tmp_path), "paper"), "S-15")
    assert (finding.observed, str(finding.where)) == ("rope_base 800000", f"specs/kimi_vl/pipeline.yaml:{line}")
