"""The scale of `stages plan` and `stages diff` where none is named."""

from pathlib import Path

import pytest

from stages.commands.find_project import published_scale
from stages.scaffold import init
from stages.spec.project import Project
from tests.edits import replaced


@pytest.mark.parametrize(("others", "usual"), [((), "mini"), (("big", "paper"), "paper"), (("big", "xl"), "mini")])
def test_it_is_the_paper_s_then_the_one_that_snakemake_runs(
    tmp_path: Path, others: tuple[str, ...], usual: str
) -> None:
    root = init.create(tmp_path / "x", "tiny")
    text = (root / "specs/scales/mini.yaml").read_text()
    for name in others:
        (root / f"specs/scales/{name}.yaml").write_text(replaced(text, "scale: mini", f"scale: {name}"))
    assert published_scale(Project.load(root)) == published_scale(Project.load(root), "tiny") == usual


def test_without_either_it_is_the_first(tmp_path: Path) -> None:
    root = init.create(tmp_path / "x", "tiny")
    mini = root / "specs/scales/mini.yaml"
    for name in ("xl", "big"):
        mini.with_name(f"{name}.yaml").write_text(replaced(mini.read_text(), "scale: mini", f"scale: {name}"))
    mini.unlink()
    assert published_scale(Project.load(root)) == "big"
