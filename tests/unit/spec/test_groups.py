"""Groups of an optimizer: which are laid down, which are refused, and that the key knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.contract import layouts
from stages.errors import SpecError
from stages.spec.project import Project
from stages.spec.resolved_parallel import Parallel
from stages.spec.resolved_training import Group, Skip
from tests.edits import replaced
from tests.unit.spec.small_project import edit

PIPELINE = "toy/pipeline.yaml"
LAYOUT = Parallel(tp=1, pp=1, cp=1, ep=1, vpp=1, sequence_parallel=False, distributed_optimizer=True, recompute="none")
TABLES = "{name: tables, of: [embeddings], lr: 1, weight_decay: 0}"


def with_groups(root: Path, *groups: str) -> Project:
    edit(root, PIPELINE, "clip: 1.0}", f"clip: 1.0, groups: [{', '.join(groups)}]}}")
    return Project.load(root)


def test_multiples_are_those_of_the_spec_at_every_scale_and_in_the_key(root: Path) -> None:
    keys = Project.load(root).keys("mini")
    project = with_groups(root, TABLES, "{name: body, modules: [llm], of: [matrices], lr: 1/4, weight_decay: 1}")
    for scale in ("paper", "mini"):
        optimizer = project.resolve("toy", scale).stages["first"].optimizer
        assert optimizer is not None
        assert optimizer.groups == (
            Group(name="tables", modules=None, of=("embeddings",), lr=1.0, weight_decay=0.0),
            Group(name="body", modules=("llm",), of=("matrices",), lr=0.25, weight_decay=1.0),
        )
    assert all(keys[ref] != key for ref, key in project.keys("mini").items())


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ((TABLES, replaced(TABLES, "tables", "again")), "'again', which has embeddings of 'tables' too"),
        (
            (TABLES, "{name: tables, of: [head], lr: 2, weight_decay: 1}"),
            "'tables', which has the name of 'tables' too",
        ),
        ((replaced(TABLES, "of:", "modules: [vit], of:"),), "the unknown module 'vit'"),
        ((replaced(TABLES, "weight_decay: 0", "weight_decay: 1"),), "lr 1 and weight_decay 1"),
        ((replaced(TABLES, "[embeddings]", "[]"),), "a group of nothing"),
        ((replaced(TABLES, "embeddings", "tables"),), "'tables'"),
        ((replaced(TABLES, "[embeddings]", "[embeddings, embeddings]"),), "'embeddings' a second time"),
        ((replaced(TABLES, "of:", "modules: [llm, llm], of:"),), "'llm' a second time"),
        ((replaced(TABLES, "embeddings", "vectors"),), "a decay of vectors, which `decay: matrices` leaves without"),
        ((replaced(TABLES, "lr: 1, ", ""),), "nothing"),
        ((replaced(TABLES, "lr: 1,", "lr: 0,"),), "'0'"),
    ],
)
def test_a_group_that_is_none_is_refused_at_its_line(root: Path, groups: tuple[str, ...], found: str) -> None:
    with pytest.raises(SpecError) as error:
        with_groups(root, *groups).resolve("toy", "paper")
    assert error.value.found == found
    assert error.value.where.file == "specs/toy/pipeline.yaml"
    assert error.value.key.startswith("optimizers.adamw.groups.")


def test_a_list_without_groups_is_none(root: Path) -> None:
    with pytest.raises(SpecError, match="an empty list"):
        with_groups(root).resolve("toy", "paper")


def test_a_head_that_is_the_embeddings_is_no_group(root: Path) -> None:
    head = replaced(TABLES, "embeddings", "head")
    assert with_groups(root, head).resolve("toy", "paper").stages["first"].optimizer is not None
    edit(root, PIPELINE, "tied: false", "tied: true")
    with pytest.raises(SpecError, match="a head, where the models' embeddings are their head"):
        Project.load(root).resolve("toy", "paper")


def test_how_the_names_of_a_group_are_listed_is_in_no_key(root: Path) -> None:
    keys = with_groups(root, replaced(TABLES, "[embeddings]", "[head, embeddings]")).keys("mini")
    edit(root, PIPELINE, "[head, embeddings]", "[embeddings, head]")
    assert Project.load(root).keys("mini") == keys


def test_the_nemo_engine_refuses_them_by_name(root: Path) -> None:
    stage = with_groups(root, TABLES).resolve("toy", "paper").stages["first"]
    nemo = stage.model_copy(update={"execution": stage.execution.model_copy(update={"parallel": LAYOUT})})
    assert [one.part for one in layouts.unsupported(nemo)] == ["groups"]


def test_a_rule_of_skipping_is_read_is_in_the_key_and_refused_on_the_nemo_engine(root: Path) -> None:
    before = Project.load(root).keys("mini")
    edit(root, PIPELINE, "clip: 1.0}", "clip: 1.0, skip: {window: 128, sigmas: 6}}")
    project = Project.load(root)
    stage = project.resolve("toy", "paper").stages["first"]
    assert stage.optimizer is not None
    assert stage.optimizer.skip == Skip(window=128, sigmas=6.0)
    assert all(before[ref] != key for ref, key in project.keys("mini").items())
    nemo = stage.model_copy(update={"execution": stage.execution.model_copy(update={"parallel": LAYOUT})})
    assert [one.part for one in layouts.unsupported(nemo)] == ["skip"]
