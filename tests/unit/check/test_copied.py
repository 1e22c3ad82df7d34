"""What a copy of a pipeline or of a stage leaves behind: notices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.check.notices.copied import copied
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests import shipped
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

LLAMA, COCA = "llama31_1m/pipeline.yaml", "kimi_vl/vit_coca.yaml"
EVALUATED = "[validation_loss, position_loss, needle]"


def test_the_shipped_pipelines_have_none(tmp_path: Path) -> None:
    assert of_all(shipped.project(), copied) == []
    assert of_all(Project.load(unshipped.write(tmp_path)), copied) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (LLAMA, "citation: arXiv 2502.13189", "citation: arXiv 2504.07491",
         "no published figure of llama31_1m cites 2504.07491; they cite 2407.21783, 2502.13189."),
        ("llama31_1m/cpt_512k.yaml", EVALUATED, "[]",
         "cpt_512k trains and is evaluated on nothing, so that no gate of it can fail."),
        (COCA, "text_tower: {release: siglip}", "text_tower: fresh",
         "text_tower of vit_coca is fresh, beside vit and contrastive of release 'siglip'."),
        (COCA, "vit: {release: siglip}", "vit: fresh",
         "vit of vit_coca is fresh, beside text_tower and contrastive of release 'siglip'."),
    ],
)  # fmt: skip
def test_each_at_its_line(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), file, old, new)
    (notice,) = of_all(Project.load(tmp_path), copied)
    assert notice == f"specs/{file}:{line}: {said}"
    assert notice in as_written(Project.load(tmp_path))


def test_a_pipeline_that_evaluates_nothing_means_it(tmp_path: Path) -> None:
    root = Path(shutil.copytree(shipped.ROOT / "examples/tiny", tmp_path / "tiny"))
    for file in sorted((root / "specs/tiny").glob("*.yaml")):
        if "evaluate: [" in file.read_text():
            lines = [line for line in file.read_text().splitlines() if not line.startswith("evaluate: [")]
            file.write_text("\n".join([*lines, "evaluate: []", ""]))
    assert of_all(Project.load(root), copied) == []


def test_a_stage_that_others_leave_in_the_middle_alone(tmp_path: Path) -> None:
    """The unshipped project has stages with points from whose end something starts too."""
    root = shipped.copy(tmp_path)
    edit(root, "llama31_1m/instruct.yaml", "from: sft_1m", "from: sft_1m@120Mi")
    (notice,) = [one for one in of_all(Project.load(root), copied) if "sft_1m" in one]
    assert "llama31_1m/sft_1m.yaml" in notice
    assert notice.endswith("nothing starts from the end of sft_1m: what others take of it ends at 125,829,120.")
