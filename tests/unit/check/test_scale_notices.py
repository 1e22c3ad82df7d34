"""What of a scale is seldom meant: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.run import notices
from stages.check.notices.scales import floors_alone, other_shapes
from stages.spec.project import Project
from tests import shipped
from tests.unit.spec import small_project


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    lr: 10\n", "    lr: 1/10\n", "toy is trained at 1/10 of its published rates."),
        ("    lr: 10\n", "    resolution: 1/2\n    lr: 10\n",
         "no phase of toy has `resolutions`; other pictures are as their corpora have them."),
        ("vocab: 264", "vocab: 2640", "toy has embeddings of 2,640 tokens, and its tokenizer has 264."),
    ],
)  # fmt: skip
def test_a_figure_of_a_scale_is_told_once_at_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    small_project.write(tmp_path)
    before = notices(Project.load(tmp_path), ["paper", "mini"])
    number = small_project.edit(tmp_path, "scales/mini.yaml", old, new)
    told = [one for one in notices(Project.load(tmp_path), ["paper", "mini"]) if one not in before]
    assert told == [f"specs/scales/mini.yaml:{number}: {said}"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("llama31_8b: {layers: 2, hidden: 64, ffn: 176", "llama31_8b: {layers: 2, hidden: 64, ffn: 1760",
         "llama31_8b has ffn 1,760 to hidden 64, 27.5 in place of 3.5, at mini."),
        ("llama31_8b: {layers: 2, hidden: 64, ffn: 176", "llama31_8b: {layers: 2, hidden: 64, ffn: 16",
         "llama31_8b has ffn 16 to hidden 64, 0.25 in place of 3.5, at mini."),
        ("        expert_ffn: 48\n", "        expert_ffn: 8\n",
         "moonlight has expert_ffn 8 to hidden 64, 0.125 in place of 0.688, at mini."),
        ("      contrastive: {hidden: 64", "      contrastive: {init_bias: -1, hidden: 64",
         "contrastive has init_bias -1 in place of -10, which is no size, at mini."),
    ],
)  # fmt: skip
def test_a_model_that_a_scale_gives_another_shape_or_figure(tmp_path: Path, old: str, new: str, said: str) -> None:
    root = shipped.copy(tmp_path)
    assert list(other_shapes(Project.load(root), "mini")) == []
    number = small_project.edit(root, "scales/mini.yaml", old, new)
    assert list(other_shapes(Project.load(root), "mini")) == [f"specs/scales/mini.yaml:{number}: {said}"]


def test_what_follows_from_the_number_of_experts_goes_with_it(tmp_path: Path) -> None:
    """moonlight has other experts at mini: a routed_scale of their own is right."""
    root = shipped.copy(tmp_path)
    small_project.edit(
        root, "scales/mini.yaml", "        layers: 3\n", "        routed_scale: 1.4\n        layers: 3\n"
    )
    assert list(other_shapes(Project.load(root), "mini")) == []


@pytest.mark.parametrize(("here", "told"), [("200K", 0), ("2K", 1)])
def test_a_floor_that_is_every_budget(tmp_path: Path, here: str, told: int) -> None:
    root = shipped.copy(tmp_path)
    line = small_project.edit(root, "scales/mini.yaml", "{paper: 12B, here: 200K}", f"{{paper: 12B, here: {here}}}")
    said = "`floor`, 8 steps, is the budget of all its phases; `anchor` and `exponent` have no effect."
    notice = f"specs/scales/mini.yaml:{line}: llama31_1m at mini: {said}"
    assert list(floors_alone(Project.load(root), "mini")) == [notice] * told
    assert (notice in notices(Project.load(root), ["mini"])) == bool(told)


@pytest.mark.parametrize(("samples", "rows"), [(1, "1 row"), (7, "7 rows"), (8, "")])
def test_evaluations_on_a_few_rows(tmp_path: Path, samples: int, rows: str) -> None:
    small_project.edit(shipped.copy(tmp_path), "scales/mini.yaml", "samples: 32", f"samples: {samples}")
    said = f"mini: evaluations read {rows} of a corpus (`evaluation.samples`); gates pass and fail by chance."
    assert [one for one in notices(Project.load(tmp_path), ["mini"]) if "gates pass" in one] == [said] * bool(rows)
