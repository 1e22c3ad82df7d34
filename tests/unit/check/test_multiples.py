"""Groups of an optimizer whose multiples were meant as something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.multiples import multiples
from stages.check.notices.run import as_written
from stages.spec.project import Project
from tests import shipped
from tests.edits import edit
from tests.mutants import unshipped
from tests.unit.check.reported import of_all

RATES = (
    "joint_pretrain trains vit at {} times the rate of llm; recipes have the same rate, or a fifth to a tenth of it."
)


def test_the_shipped_and_the_unshipped_have_none(tmp_path: Path) -> None:
    for project in (shipped.project(), Project.load(unshipped.write(tmp_path))):
        assert of_all(project, multiples) == []


def group(folder: Path, words: str) -> list[str]:
    """What is said of a group in kimi_vl's optimizer."""
    path = shipped.copy(folder) / "specs/kimi_vl/pipeline.yaml"
    covers = "  - {covers: [optimizers], mark: published"
    line = edit(path, "    clip: 1.0\n", f"    clip: 1.0\n    groups:\n      - {words}\n") + 1
    edit(path, covers, f"  - {{covers: [optimizers.muon.groups], mark: chosen}}\n{covers}")
    project = Project.load(folder)
    told = of_all(project, multiples)
    assert set(told) <= set(as_written(project))
    for one in told:
        assert one.split(": ")[0] in (f"specs/kimi_vl/pipeline.yaml:{at}" for at in (line, line + 1))
    return [one.partition(": ")[2] for one in told]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("{name: tower, modules: [vit], of: [matrices, vectors], lr: 5, weight_decay: 1}", RATES.format(5)),
        ("{name: model, modules: [llm], of: [matrices, vectors], lr: 1/5, weight_decay: 1}", RATES.format(5)),
        ("{name: tower, modules: [vit], of: [matrices, vectors], lr: 1/5, weight_decay: 1}", ""),
        ("{name: both, of: [matrices, vectors], lr: 1/5, weight_decay: 1}", ""),
        ("{name: new, modules: [projector], of: [matrices, vectors], lr: 50, weight_decay: 1}", ""),
        ("{name: tower, modules: [vit], of: [vectors], lr: 5, weight_decay: 1}", ""),
        ("{name: tower, modules: [vit], of: [matrices], lr: 1, weight_decay: 0.1}",
         "group 'tower' has 0.1 times the weight_decay 0.1 of muon, 0.01; for 0.1 itself, write 1."),
        ("{name: tower, modules: [vit], of: [matrices], lr: 1, weight_decay: 0}", ""),
        ("{name: tower, modules: [vit], of: [matrices], lr: 1, weight_decay: 0.5}", ""),
    ],
)  # fmt: skip
def test_a_group(tmp_path: Path, words: str, said: str) -> None:
    assert group(tmp_path, words) == [said] * bool(said)
