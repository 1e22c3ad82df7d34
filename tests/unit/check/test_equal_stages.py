"""Two stages that do the same work are one too many (I-38); so is a stage that is merged under two names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.check.findings import unwaived
from stages.check.run import run
from stages.errors import InvalidSpecs, SpecError
from stages.spec.project import Project
from tests.edits import replaced
from tests.mutants import unshipped
from tests.unit.spec.small_project import edit

TINY = Path(__file__).parents[3] / "examples/tiny"
VARIANT = "pipeline: dense_two\ntitle: t\ncitation: none\nfigure: none\nextends: dense\nsources: []\n"


def with_copy(root: Path, **changes: str) -> list[str]:
    """What I-38 finds where decay, a sweep over its last rate, is copied to decay_b with some texts replaced."""
    unshipped.write(root)
    text = replaced((root / "specs/dense/decay.yaml").read_text(), "stage: decay", "stage: decay_b")
    for old, new in {"{low: 1e-5, high: 1e-4}": "{a: 1e-5, b: 2e-4}", **changes}.items():
        text = replaced(text, old, new)
    (root / "specs/dense/decay_b.yaml").write_text(text)
    edit(root, "dense/pipeline.yaml", "[trunk, decay,", "[trunk, decay, decay_b,")
    return [f"{one.stage}: {one.observed}" for one in unwaived(run(Project.load(root), "full", {"I-38"}))]


def test_a_value_that_another_sweep_has_already(tmp_path: Path) -> None:
    assert with_copy(tmp_path) == ["dense/decay_b_a: all that decay_low does (specs/dense/decay.yaml:1)"]


@pytest.mark.parametrize(
    ("old", "new"),
    [("1e-5, b", "3e-5, b"), ("trunk@6Gi", "trunk@7Gi"), ("optimizer: stated", "optimizer: stated\nseed: 3")],
    ids=["another value", "another parent", "another seed"],
)
def test_a_copy_with_anything_changed_is_no_double(old: str, new: str, tmp_path: Path) -> None:
    assert with_copy(tmp_path, **{old: new}) == []


def test_the_copy_of_a_schedule_that_another_sweep_made_is_named_with_its_line(tmp_path: Path) -> None:
    with_copy(tmp_path, **{"{a: 1e-5": "{low: 1e-5"})
    with pytest.raises(
        SpecError, match=r"decay_b\.yaml:31: .*'decay_low', which schedules has already .*pipeline.yaml:"
    ):
        Project.load(tmp_path).resolve("dense", "full")


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("again", "stage: again\nbox: b\nkind: export\ninit: {from: weighted}\n", "all that mixed does"),
        ("again", "stage: again\nbox: b\nkind: export\ninit: {from: decay_low, weights: average}\n", ""),
        ("again", "stage: again\nbox: b\nkind: merge\ninit: {from: [trunk, trunk@7Gi, trunk@6Gi], weights: uniform}\n",
         "all that uniform does"),
    ],
)  # fmt: skip
def test_two_exports_or_merges_of_the_same(file: str, text: str, found: str, tmp_path: Path) -> None:
    """One of the two was copied, and its `from` was not changed."""
    root = unshipped.write(tmp_path)
    (root / f"specs/dense/{file}.yaml").write_text(text)
    edit(root, "dense/pipeline.yaml", "release, mixed]", f"release, mixed, {file}]")
    told = [one.observed for one in unwaived(run(Project.load(root), "full", {"I-38"}))]
    assert [one.partition(" (")[0] for one in told if one.startswith("all that")] == [found] * bool(found)


@pytest.mark.parametrize("merged", ["trunk@6Gi, trunk@8Gi, trunk", "trunk@6Gi, trunk@6144Mi, trunk"])
def test_a_variant_may_not_merge_one_stage_of_what_it_extends_under_two_names(merged: str, tmp_path: Path) -> None:
    unshipped.write(tmp_path)
    folder = tmp_path / "specs/dense_two"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(VARIANT)
    (folder / "average.yaml").write_text(f"stage: average\ninit: {{from: [{merged}]}}\nsources: []\n")
    with pytest.raises(InvalidSpecs, match="the same stage under two names"):
        Project.load(tmp_path).resolve("dense_two", "full")


def test_a_merge_of_a_variant_is_the_extended_one_in_whatever_order_it_names_its_parents(tmp_path: Path) -> None:
    unshipped.write(tmp_path)
    folder = tmp_path / "specs/dense_two"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(VARIANT)
    (folder / "uniform.yaml").write_text("stage: uniform\ninit: {from: [trunk, trunk@7Gi, trunk@6Gi]}\nsources: []\n")
    project = Project.load(tmp_path)
    assert project.resolve("dense_two", "full").refs["uniform"] == "dense/uniform"
    assert project.resolve("dense_two", "full").keys["uniform"] == project.resolve("dense", "full").keys["uniform"]


TALKS = """\
  one_set:
    sources: [{corpus: one_set, share: 100%, group: text}]
  other_set:
    sources: [{corpus: other_set, share: 100%, group: text}]
sources:
"""
PUBLISHED = """\
corpora:
  one_set: {kind: sft, citation: a paper, stand_in: questions}
  other_set: {kind: sft, citation: a paper, stand_in: questions}
"""


@pytest.mark.parametrize(("mixture", "found"), [("other_set", []), ("one_set", ["tiny/sft_b"])])
def test_two_corpora_with_one_stand_in_are_no_double(mixture: str, found: list[str], tmp_path: Path) -> None:
    """A scale that shrinks nothing may read local corpora; what the stages are of is what their mixtures name."""
    shutil.copytree(TINY / "specs", tmp_path / "specs")
    edit(tmp_path, "data/mixtures.yaml", "sources:\n  - {covers", TALKS + "  - {covers")
    (tmp_path / "specs/data/published.yaml").write_text(PUBLISHED)
    edit(tmp_path, "tiny/sft.yaml", "data: talking", "data: one_set")
    text = replaced((tmp_path / "specs/tiny/sft.yaml").read_text(), "stage: sft", "stage: sft_b")
    (tmp_path / "specs/tiny/sft_b.yaml").write_text(replaced(text, "data: one_set", f"data: {mixture}"))
    edit(tmp_path, "tiny/pipeline.yaml", "long, sft]", "long, sft, sft_b]")
    assert [one.stage for one in unwaived(run(Project.load(tmp_path), "mini", {"I-38"}))] == found
