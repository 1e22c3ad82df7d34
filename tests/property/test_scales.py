"""I-35: a smaller scale keeps what a pipeline is: order of contexts and budgets, shape of the rate, ratios of RoPE.

Whatever a scale's own figures are: they are drawn here, for the toy project and for the shipped pipelines, and either
the specs are refused with a reason or the miniature has the mechanisms of the full size.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from stages.errors import UserError
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_pipeline import ResolvedPipeline
from tests.edits import substituted

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = ("llama31_1m", "kimi_vl", "ouro")
FIGURES = {
    "context": st.sampled_from([f"1/{2**power}" for power in range(9)]),
    "exponent": st.sampled_from(["1", "1/2", "1/3", "2/3", "1/5", "1/6"]),
    "here": st.integers(20_000, 3_000_000).map(str),
    "floor": st.integers(1, 40).map(lambda steps: f"{steps} steps"),
    "batch": st.integers(0, 16).map(lambda power: f"1/{2**power}"),
    "lr": st.integers(1, 200).map(str),
    "min_piece": st.integers(1, 6).map(lambda steps: f"{steps} steps"),
}
drawn_figures = st.fixed_dictionaries({}, optional=FIGURES)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("shipped")
    shutil.copytree(ROOT / "specs", root / "specs")
    for file in (root / "specs/data").glob("*.yaml"):  # corpora that no scale exhausts: this is about scales
        if "\nsize: " in (text := file.read_text()):
            for key in ("size", "documents"):
                text = substituted(text, rf"^{key}: .*$", f"{key}: 1_000_000_000_000")
            if "\npacked:\n" in text:
                text = substituted(text, r"^packed:\n(  .*\n)+", "")
            file.write_text(text)
    yield root
    shutil.rmtree(root)


def resolved(root: Path, pipeline: str, figures: dict[str, str]) -> ResolvedPipeline | None:
    """The pipeline at mini with some of its entry's figures changed; None where the specs say why it cannot be."""
    file = root / "specs/scales/mini.yaml"
    text = (ROOT / "specs/scales/mini.yaml").read_text()
    head, entry, tail = re.split(rf"(?<=\n)(  {pipeline}:\n(?:    .*\n)+)", text)
    for key, value in figures.items():
        entry, count = re.subn(rf"\b{key}: [^,}}\n]+", f"{key}: {value}", entry, count=1)
        assert count == 1
    file.write_text(head + entry + tail)
    try:
        return Project.load(root).resolve(pipeline, "mini")
    except UserError:
        return None


def paired(pipeline: str, small: ResolvedPipeline) -> Iterator[tuple[Stage, Stage]]:
    full = Project.load(ROOT).resolve(pipeline, "paper")
    return zip(full.stages.values(), small.stages.values(), strict=True)


def phases(pipeline: str, small: ResolvedPipeline) -> list[tuple[Phase, Phase]]:
    return [pair for a, b in paired(pipeline, small) if a.phases for pair in zip(a.phases, b.phases, strict=True)]


@pytest.mark.parametrize("pipeline", PIPELINES)
@settings(max_examples=settings().max_examples // 3)
@given(figures=drawn_figures)
def test_mechanisms_survive_any_scale_that_is_not_refused(root: Path, pipeline: str, figures: dict[str, str]) -> None:
    small = resolved(root, pipeline, figures)
    event("refused" if small is None else "resolved")
    assume(small is not None)
    assert small is not None
    pairs = phases(pipeline, small)
    for (full, mini), (other, shrunk) in combinations(pairs, 2):
        if full.context != other.context:
            assert (full.context < other.context) == (mini.context < shrunk.context)
        if full.unit == other.unit and full.budget < other.budget:
            assert mini.budget <= shrunk.budget or mini.budget <= floor_of(mini, figures, pipeline)
    for stage, shrunk_stage in paired(pipeline, small):
        same_rope(stage, shrunk_stage)
        same_rate(stage, shrunk_stage)
        assert shrunk_stage.parents == stage.parents
        assert shrunk_stage.trained == stage.trained or not stage.phases
        assert {name: init.optimizer for name, init in shrunk_stage.init.items()} == {
            name: init.optimizer for name, init in stage.init.items()
        }


def floor_of(phase: Phase, figures: dict[str, str], pipeline: str) -> int:
    """Ledger units of the floor's steps at the phase's largest batch: below it budgets are all the floor."""
    steps = int(figures.get("floor", "8 steps").split()[0])
    return steps * max(step.sequences for step in phase.batch) * phase.context


def same_rope(full: Stage, small: Stage) -> None:
    """Wavelength to context, and the ratios of two stages' bases, stay: base and original length shrink alike."""
    assert (full.rope is None) == (small.rope is None)
    if full.rope is None or small.rope is None:
        return
    factor = Fraction(small.max_context, full.max_context)
    assert small.rope.interpolation == full.rope.interpolation
    if full.phases and small.phases:
        assert Fraction(small.rope.base) == pytest.approx(float(full.rope.base * factor), rel=1e-12)
    if full.rope.llama3 is not None and small.rope.llama3 is not None:
        assert small.rope.llama3.original / small.max_context == full.rope.llama3.original / full.max_context


def same_rate(full: Stage, small: Stage) -> None:
    """The same pieces at the same progress, one factor between the rates."""
    if full.schedule is None or small.schedule is None:
        return
    assert len(full.schedule.pieces) == len(small.schedule.pieces)
    factors = set()
    for before, after in zip(full.schedule.pieces, small.schedule.pieces, strict=True):
        assert (before.shape, before.p0, before.p1) == (after.shape, after.p0, after.p1)
        factors |= {round(b / a, 9) for a, b in ((before.first, after.first), (before.last, after.last)) if a}
    assert len(factors) == 1
