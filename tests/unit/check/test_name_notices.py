"""A name that says another context than its stage or phase has is reported, and refuses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.names import lengths, misnamed
from stages.spec.project import Project
from tests import shipped
from tests.edits import replaced
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit


def test_the_shipped_names_say_the_contexts_that_are_there() -> None:
    assert of_all(shipped.project(), misnamed) == []


def test_a_stage_that_was_given_another_context_is_told_at_it(tmp_path: Path) -> None:
    shipped.copy(tmp_path)
    line = edit(tmp_path, "llama31_1m/cpt_512k.yaml", "context: 512Ki", "context: 1Mi")
    said = f"specs/llama31_1m/cpt_512k.yaml:{line}: 'cpt_512k' says 512Ki, and has a context of 1,048,576."
    assert of_all(Project.load(tmp_path), misnamed) == [said]


@pytest.mark.parametrize(
    ("box", "said"),
    [("256K Continue Pretrain", "256Ki"), ("1M Continue Pretrain", "1Mi"), ("64K examples of long books", ""),
     ("512K after 256K", ""), ("Continue Pretrain of 135M", "")],
)  # fmt: skip
def test_a_box_that_was_copied_with_its_context(tmp_path: Path, box: str, said: str) -> None:
    line = edit(shipped.copy(tmp_path), "llama31_1m/cpt_512k.yaml", "box: 512K Continue Pretrain", f"box: {box}")
    notice = (
        f"specs/llama31_1m/cpt_512k.yaml:{line}: the box is {box!r}, which says {said}, and has a context of 524,288."
    )
    assert of_all(Project.load(tmp_path), misnamed) == [notice] * bool(said)


def test_phases_whose_names_were_exchanged_are_both_told(tmp_path: Path) -> None:
    path = shipped.copy(tmp_path) / "specs/kimi_vl/joint_longctx.yaml"
    text = replaced(path.read_text(), "name: 32k", "name: long", "name: 128k", "name: 32k")
    path.write_text(replaced(text, "name: long", "name: 128k"))
    said = [one.partition(": ")[2] for one in of_all(Project.load(tmp_path), misnamed)]
    assert said == ["'128k' says 128Ki, and has a context of 32,768.", "'32k' says 32Ki, and has a context of 131,072."]


@pytest.mark.parametrize(
    ("name", "said"),
    [("cpt_512k", [524288]), ("32k", [32768]), ("sft_768k_b", [786432]), ("ouro_1_4b", []), ("base_135m", []),
     ("top_1k", []), ("decay_10k", []), ("trunk_at_7168mi", []), ("v2_4m", [4194304]),
     ("sft_64k_rows", []), ("sft_64k_examples_b", []), ("vocab_64k", []), ("sft_64k_rowing", [65536])],
)  # fmt: skip
def test_what_a_name_may_say(name: str, said: list[int]) -> None:
    assert [size for _, size in lengths(name)] == said


@pytest.mark.parametrize(
    ("file", "old", "new", "box"),
    [
        ("ouro/ct_anneal_1_4b.yaml", "budget: 1.4T", "budget: 1.3T", "'CT Annealing 1.4T Tokens'"),
        ("ouro/longct_1_4b.yaml", "budget: 20B\n", "budget: 30B\n", "'LongCT 20B Tokens'"),
        ("kimi_vl/joint_cooldown.yaml", "budget: 0.6T", "budget: 0.3T", "'Joint Cooldown 0.6T'"),
    ],
)
def test_a_budget_that_the_box_does_not_say_is_told(tmp_path: Path, file: str, old: str, new: str, box: str) -> None:
    line = edit(shipped.copy(tmp_path), file, old, new)
    (said,) = of_all(Project.load(tmp_path), misnamed)
    assert said == f"specs/{file}:{line}: the box is {box}, and the stage reads {new.split()[1]}."


def test_a_model_of_so_many_parameters_says_no_budget(tmp_path: Path) -> None:
    edit(shipped.copy(tmp_path), "llama31_1m/cpt_1m.yaml", "box: 1M Continue Pretrain", "box: 8B continued")
    assert of_all(Project.load(tmp_path), misnamed) == []
