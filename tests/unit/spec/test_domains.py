"""A number outside of its domain is refused at its own line, in words that name the domain."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.project import Project
from tests.unit.spec.small_project import edit

PIPELINE, FIRST, PAPER, MINI, MIXTURES = (
    "toy/pipeline.yaml", "toy/first.yaml", "scales/paper.yaml", "scales/mini.yaml", "data/mixtures.yaml"
)  # fmt: skip
OUTSIDE = [
    (PIPELINE, "beta1: 0.9", "beta1: 1", "at least 0 and below 1"),
    (PIPELINE, "beta2: 0.95", "beta2: 95", "at least 0 and below 1"),
    (PIPELINE, "beta2: 0.95", "beta2: -0.95", "at least 0 and below 1"),
    (PIPELINE, "eps: 1e-8, weight", "eps: 0, weight", "from 1e-30 to 0.1"),
    (PIPELINE, "eps: 1e-8, weight", "eps: 1e8, weight", "from 1e-30 to 0.1"),
    (PIPELINE, "weight_decay: 0.1", "weight_decay: -0.1", "from 0 to 10"),
    (PIPELINE, "clip: 1.0", "clip: 0", "above 0 and at most 1e6, such as 1.0; or none"),
    (PIPELINE, "clip: 1.0", "clip: null", "or none"),
    (PIPELINE, "norm_eps: 1e-5", "norm_eps: 1e5", "from 1e-30 to 1e-3"),
    (PIPELINE, "init_std: 0.02", "init_std: 0", "above 0 and at most 1"),
    (PIPELINE, "init_std: 0.02", "init_std: .inf", "a number"),
    (PIPELINE, "init_std: 0.02", "init_std: nan", "a number"),
    (PIPELINE, "layers: 2,", "layers: 2.5,", "a whole number"),
    (PIPELINE, "layers: 2,", "layers: true,", "a whole number"),
    (PIPELINE, "heads: 4,", "heads: 0,", "from 1 to"),
    (PIPELINE, "vocab: 512", "vocab: 1e400", "a whole number"),
    (PIPELINE, "tied: false", "tied: 'yes'", "true or false"),
    (PIPELINE, "to: 1e-3, for", "to: 1e10, for", "from 0 to 1e9"),
    (FIRST, "base: 10_000", "base: 1", "above 1"),
    (FIRST, "budget: 1B\n    context: 4Ki", "budget: 1e300\n    context: 4Ki", "from 1 to 1_000T"),
    (PAPER, "seed: 1", "seed: -1", "from 0 to"),
    (PAPER, "ranks: 8, memory: 100 GB", "ranks: 8, memory: 100 MB", "at least 8 GB for a node of 4 ranks on GPUs"),
    (MINI, "exponent: 1/2", "exponent: 1e9", "up to 100"),
    (MINI, "exponent: 1/2", "exponent: 0.333333333", "up to 100"),
    (MINI, "context: 1/64", "context: 64", "to 1"),
    (MINI, "lr: 10", "lr: 0", "from 1/1_000_000"),
    (MINI, "small: {layers: 1}", "small: {layers: 0}", "from 1 to"),
    (MIXTURES, "share: 70%", "share: 0%", "above 0% and at most 100%"),
]


def resolve(root: Path) -> None:
    for scale in ("paper", "mini"):
        Project.load(root).resolve("toy", scale)


@pytest.mark.parametrize(("file", "old", "new", "says"), OUTSIDE, ids=lambda text: text if "." not in text else None)
def test_refused_at_its_line(root: Path, file: str, old: str, new: str, says: str) -> None:
    line = edit(root, file, old, new)
    with pytest.raises(SpecError) as caught:
        resolve(root)
    assert (caught.value.where.file, caught.value.where.line) == (f"specs/{file}", line)
    assert says in caught.value.allowed


def test_too_few_numbers_in_a_list_are_counted(root: Path) -> None:
    muon = "{kind: muon, momentum: 0.9, nesterov: true, newton_schulz: [3.4, -4.8], newton_schulz_steps: 5, "
    line = edit(root, PIPELINE, "{kind: adamw, ", muon + "update_rms: 0.2, ")
    with pytest.raises(SpecError, match=rf"{PIPELINE}:{line}: .*newton_schulz: found 2 values; allowed: at least 3"):
        resolve(root)


def test_gradients_that_are_not_clipped_are_written_none(root: Path) -> None:
    edit(root, PIPELINE, "clip: 1.0", "clip: none")
    optimizer = Project.load(root).resolve("toy", "paper").stages["first"].optimizer
    assert optimizer is not None
    assert optimizer.clip is None


def test_a_figure_that_is_none_may_have_a_source(root: Path) -> None:
    edit(root, PIPELINE, "clip: 1.0", "clip: none")
    sources = 'sources:\n  - {covers: [optimizers.adamw.clip], mark: published, citation: a table}\n  - {covers: ["*"]'
    edit(root, PIPELINE, 'sources:\n  - {covers: ["*"]', sources)
    resolve(root)
    edit(root, PIPELINE, "optimizers.adamw.clip]", "optimizers.adamw.klip]")
    with pytest.raises(SpecError, match=r"'optimizers\.adamw\.klip', which covers no figure"):
        resolve(root)


def test_a_scale_that_makes_a_rate_too_large_is_refused_where_it_says_so(root: Path) -> None:
    edit(root, PIPELINE, "to: 1e-3, for", "to: 1e9, for")
    with pytest.raises(SpecError, match=r"scales/mini.yaml:16: pipelines.toy.lr: found a factor that makes a rate"):
        Project.load(root).resolve("toy", "mini")


def test_in_a_file_that_extends_another_the_line_is_its_own(root: Path) -> None:
    line = edit(root, "toy_variant/second.yaml", "budget: 1B", "budget: 1.5")
    with pytest.raises(SpecError, match=rf"^specs/toy_variant/second.yaml:{line}: phases.0.budget: found '1.5'"):
        Project.load(root).resolve("toy_variant", "paper")
    line = edit(root, MINI, "threads: 1", "threads: 0")
    with pytest.raises(SpecError, match=rf"^specs/{MINI}:{line}: threads: found '0'"):
        Project.load(root).resolve("toy", "mini")
