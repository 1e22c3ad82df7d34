"""Decays that hardly lower the rate, means of an optimizer, and interpolation beside the contexts: notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.notices.endings import hardly_falls, unusual_figures
from stages.check.notices.reaches import unneeded
from stages.check.notices.run import notices
from stages.spec.project import Project
from tests import shipped
from tests.mutants import unshipped
from tests.unit.check.reported import of_all
from tests.unit.spec.small_project import edit

LLAMA = "llama31_1m/pipeline.yaml"
EXTENDED = ("cpt_256k", "cpt_512k", "cpt_1m", "sft_32k", "sft_256k", "sft_1m")


def test_the_shipped_schedules_and_positions_have_none() -> None:
    assert [*hardly_falls(shipped.project(), "paper"), *unneeded(shipped.project(), "paper")] == []
    assert of_all(shipped.project(), unusual_figures) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("to: 2e-6, for: 1.8B", "to: 1.5e-5, for: 1.8B", "cpt ends at 1.5e-05, 75%"),
        ("to: 2e-6, until: 1B", "to: 1.9e-5, until: 1B", "sft_32k ends at 1.9e-05, 95%"),
        ("to: 2e-6, for: 1.8B", "to: 1e-5, for: 1.8B", None),
        ("shape: cosine, to: 2e-6, for: 1.8B", "shape: inverse_sqrt, to: 1.5e-5, for: 1.8B", None),
    ],
)  # fmt: skip
def test_a_decay_that_hardly_falls(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    line = edit(shipped.copy(tmp_path), LLAMA, old, new)
    told = list(hardly_falls(Project.load(tmp_path), "paper"))
    why = "of its highest rate, after a cosine decay; recipes end at 0 to 10% (arXiv 2405.18392)."
    whole = f"specs/{LLAMA}:{line}: {said} {why}"
    assert told == ([whole] if said else [])
    assert all(one in notices(Project.load(tmp_path), ["paper"]) for one in told)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("beta1: 0.9", "beta1: 0", "adamw has beta1 0; recipes have 0.6 to 0.99."),
        ("beta2: 0.95", "beta2: 0.99995", "adamw has beta2 0.99995; recipes have 0.9 to 0.9995."),
        ("beta2: 0.95", "beta2: 0.999", None),
        ("eps: 1e-8", "eps: 1e-18", "adamw has eps 1e-18; recipes have 1e-16 to 1e-05."),
        ("eps: 1e-8", "eps: 1e-5", None),
        ("clip: 1.0", "clip: 0.01", "adamw has clip 0.01; recipes have 0.1 to 10."),
        ("clip: 1.0", "clip: none", None),
        (
            "clip: 1.0",
            "clip: 1.0\n    ema: 0.6",
            "adamw has ema 0.6, an average over 2 steps; recipes have 0.99 and more.",
        ),
        ("clip: 1.0", "clip: 1.0\n    ema: 0.99", None),
    ],
)
def test_a_figure_beyond_those_of_recipes(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    line = edit(shipped.copy(tmp_path), LLAMA, old, new) + new.count("\n")
    assert of_all(Project.load(tmp_path), unusual_figures) == ([f"specs/{LLAMA}:{line}: {said}"] if said else [])


def test_numbers_that_a_schedule_gives_are_no_constants(tmp_path: Path) -> None:
    assert of_all(Project.load(unshipped.write(tmp_path)), unusual_figures) == []


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        ("80", "which serves 10,485,760 positions, and no stage from here reads more than 1,048,576"),
        ("16", "which serves 2,097,152 positions, and no stage from here reads more than 1,048,576"),
        ("12", None),
        ("6", None),
        ("4", "and llama31_1m/base's 131,072 are interpolated to 524,288 by it (arXiv 2306.15595)."),
    ],
)
def test_an_interpolation_beside_the_longest_context(tmp_path: Path, factor: str, said: str | None) -> None:
    """8 serves 1Mi positions of a release that knows 128Ki; the stage that begins with another is named, once."""
    root = shipped.copy(tmp_path)
    lines = [edit(root, f"llama31_1m/{one}.yaml", "interpolation: 8", f"interpolation: {factor}") for one in EXTENDED]
    told = list(unneeded(Project.load(root), "paper"))
    assert [one.startswith(f"specs/llama31_1m/cpt_256k.yaml:{lines[0]}: cpt_256k ") for one in told] == [True] * bool(
        said
    )
    assert all(said is not None and said in one for one in told)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("attention_factor: none", "attention_factor: 10",
         "long has attention_factor 10 of yarn; published models have 0.7 to 1.5."),
        ("beta_fast: 32", "beta_fast: 320", "long has beta_fast 320 of yarn; published models have 32."),
        ("beta_slow: 1", "beta_slow: 10", "long has beta_slow 10 of yarn; published models have 1."),
        ("mscale: 1,", "mscale: 0.707,", None),
    ],
)  # fmt: skip
def test_figures_of_yarn(tmp_path: Path, old: str, new: str, said: str | None) -> None:
    root = unshipped.write(tmp_path)
    before = list(unneeded(Project.load(root), "full"))
    line = edit(root, "dense/long.yaml", old, new)
    told = [one for one in unneeded(Project.load(root), "full") if one not in before]
    assert told == ([f"specs/dense/long.yaml:{line}: {said}"] if said else [])


def test_a_new_base_is_no_interpolation(tmp_path: Path) -> None:
    root = shipped.copy(tmp_path)
    for one in EXTENDED:
        edit(root, f"llama31_1m/{one}.yaml", "base: 500_000", "base: 5_000_000")
        edit(root, f"llama31_1m/{one}.yaml", "interpolation: 8", "interpolation: 2")
    assert list(unneeded(Project.load(root), "paper")) == []
