"""What of a scale is seldom meant: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.run import notices
from stages.spec.project import Project
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
