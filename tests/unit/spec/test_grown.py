"""Depth from written layers: which are copied, at full size and at a scale, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.check.run import run_pipeline
from stages.commands.hand_over import grown
from stages.errors import SpecError
from stages.spec import copies
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec.small_project import edit

SECOND = """\
stage: second
box: Second
kind: upcycle
modules: {llm: large}
init: {from: first, weights: {upcycle: HOW}, optimizer: inherit, clock: reset, data: continue}
"""


def project(root: Path, how: str, layers: int, here: int = 2) -> Project:
    """The small project with `second` made of layers of `first`, which has 4, or 2 at scale mini."""
    (root / "specs/toy/second.yaml").write_text(replaced(SECOND, "HOW", how))
    for name in ("pipeline", "second"):
        (root / f"specs/toy_variant/{name}.yaml").unlink()
    pipeline = root / "specs/toy/pipeline.yaml"
    text = replaced(pipeline.read_text(), "layers: 2,", "layers: 4,")
    small = text[text.index("  small:") : text.index("optimizers:")]
    large = replaced(small, "small", "large", "layers: 4,", f"layers: {layers},")
    pipeline.write_text(replaced(text, small, small + large, "to: 1e-4, until: 4B", "to: 1e-4, until: 2B"))
    edit(root, "toy/pipeline.yaml", "tokens: 4B, lineage: second", "tokens: 2B, lineage: second")
    edit(root, "scales/mini.yaml", "small: {layers: 1}", f"small: {{layers: 2}}\n      large: {{layers: {here + 1}}}")
    return Project.load(root)


def test_a_depth_that_is_no_multiple_is_made_of_the_layers_that_are_written(root: Path) -> None:
    found = project(root, "0-2 + 1-3", 6)
    stages = found.resolve("toy", "paper").stages
    assert stages["second"].init["llm"].layer_map == (0, 1, 2, 1, 2, 3)
    assert found.resolve("toy", "mini").stages["second"].init["llm"].layer_map == (0, 1, 1)
    assert not [one for one in run_pipeline(found, "toy", "paper") if one.id in ("I-23", "I-31")]
    ((_, said),) = grown(stages["second"], {f"toy/{name}": stage for name, stage in stages.items()})
    assert "4 -> 6 layers: copied layers 0 3 once, layers 1-2 twice; 2B tokens seen before" in said


def test_a_layer_that_nobody_copies_is_a_finding(root: Path) -> None:
    found = run_pipeline(project(root, "0-2 + 0-2", 6), "toy", "paper")
    assert [one.id for one in found if one.id in ("I-23", "I-31")] == ["I-31"]


def test_the_first_layer_stays_the_first_and_the_last_the_last(root: Path) -> None:
    (finding,) = (one for one in run_pipeline(project(root, "1-3 + 0-2", 6), "toy", "paper") if one.id == "I-31")
    assert finding.observed == "a first layer that is a copy of layer 1, and a last one of layer 2"
    assert finding.where is not None
    assert finding.where.line == SECOND.splitlines().index(SECOND.splitlines()[4]) + 1


@pytest.mark.parametrize(
    ("how", "layers", "said"),
    [
        ("0-3 + 2-4", 7, "7 layers, of 0 to 4, for a model of 4 becoming one of 7"),
        ("0-2 + 1-3", 7, "6 layers, of 0 to 3"),
        ("0-3", 4, "a model that is deeper than the parent's"),
        ("3-0 + 0-3", 8, "layers 3 to 0"),
        ("0-3 and 1", 5, "upcycle"),
    ],
)
def test_layers_that_do_not_fit_are_refused(root: Path, how: str, layers: int, said: str) -> None:
    with pytest.raises(SpecError) as wrong:
        project(root, how, layers).resolve("toy", "paper")
    assert wrong.value.key == "init.weights"
    assert said in f"{wrong.value.found} {wrong.value.allowed}"


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 40), st.integers(1, 60))
def test_a_scale_takes_layers_of_the_parent_in_their_order(parent: int, more: int, above: int, below: int) -> None:
    written = copies.read(f"0-{parent - 1} + {max(parent - more, 0)}-{parent - 1}")
    assert copies.shrunk(written, parent, len(written)) == written
    here = copies.shrunk(written, above, below)
    assert len(here) == below
    assert set(here) <= set(range(above))
    assert sum(one > two for one, two in pairwise(here)) <= 1, "one step back, between the ranges"
