"""YaRN along a lineage: what fits together, what it extends, and how miniatures, plans and diffs speak of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.check.findings import Finding, unwaived
from stages.check.rules.yarn import without_effect
from stages.check.run import run
from stages.diff.effects import _positions
from stages.plan import figures
from stages.spec.project import Project
from stages.spec.resolved_models import Rope, Yarn
from tests.edits import edit, replaced
from tests.families import test_yarn
from tests.mutants.mutant import Edited

FILE, RULE = "ouro/longct_1_4b.yaml", r"rope: \{base: 1_000_000, llama3: none, interpolation: 1\}"
FIELDS = {
    "factor": "4", "original": "16Ki", "beta_fast": "32", "beta_slow": "1", "truncate": "true",
    "attention_factor": "none", "mscale": "none", "mscale_all_dim": "none",
}  # fmt: skip


def edited(folder: Path, base: str = "40_000", rest: str = "", **changes: str) -> Project:
    """Ouro's long-context stage (16Ki before it, 64Ki in it) with YaRN in the place of a higher base."""
    fields = ", ".join(f"{name}: {value}" for name, value in {**FIELDS, **changes}.items())
    written = f"rope: {{base: {base}, {rest or 'llama3: none, interpolation: 1'}, yarn: {{{fields}}}}}"
    return Edited(FILE, RULE, written).project(folder)


def found(project: Project, id: str, scale: str = "paper") -> list[Finding]:
    return [one for one in unwaived(run(project, scale, {id})) if one.stage == "ouro/longct_1_4b"]


def test_a_longer_context_by_yarn_is_a_legitimate_stage(tmp_path: Path) -> None:
    project = edited(tmp_path)
    for scale in ("paper", "mini"):
        for id in ("I-11", "I-12", "I-13", "I-14", "I-29", "I-35", "I-37"):
            assert found(project, id, scale) == [], (scale, id)


def test_a_miniature_shrinks_the_original_length_as_it_does_contexts(tmp_path: Path) -> None:
    project = edited(tmp_path)
    paper, mini = (project.resolve("ouro", scale).stages["longct_1_4b"] for scale in ("paper", "mini"))
    assert paper.rope is not None
    assert mini.rope is not None
    assert paper.rope.yarn is not None
    assert mini.rope.yarn is not None
    assert paper.rope.yarn.original * mini.max_context == mini.rope.yarn.original * paper.max_context
    assert mini.rope.yarn.model_copy(update={"original": 16_384}) == paper.rope.yarn


@pytest.mark.parametrize(
    ("changes", "observed"),
    [
        ({"rest": "llama3: none, interpolation: 4"}, "yarn beside llama3 scaling or an interpolation"),
        ({"rest": "llama3: {factor: 8, low: 1, high: 4, original: 8Ki}, interpolation: 1"}, "yarn beside llama3"),
        ({"factor": "1/2"}, "yarn by 0.5 between 1"),
        ({"beta_fast": "1"}, "between 1 (beta_slow) and 1 (beta_fast)"),
        ({"original": "4"}, "yarn that leaves all 64 pairs as they are"),
        ({"mscale": "1"}, "mscale 1, without effect: `mscale_all_dim` is none"),
        ({"mscale_all_dim": "1"}, "mscale_all_dim 1, without effect: only latent attention"),
        ({"mscale": "1", "mscale_all_dim": "1", "attention_factor": "1.2"}, "mscale 1, without effect: `attention_fac"),
    ],
)
def test_figures_that_do_not_fit_together_are_findings(changes: dict[str, str], observed: str, tmp_path: Path) -> None:
    (finding,) = found(edited(tmp_path, **changes), "I-11")
    assert observed in finding.observed


@pytest.mark.parametrize(
    "changes", [{"attention_factor": "1.2079"}, {"mscale": "1", "mscale_all_dim": "0.8"}, {"truncate": "false"}]
)
def test_other_ways_to_write_it_are_fine(changes: dict[str, str], tmp_path: Path) -> None:
    assert found(edited(tmp_path, **changes), "I-11") == []


def test_ends_between_pairs_are_refused_where_layers_differ_in_their_positions(tmp_path: Path) -> None:
    project = edited(tmp_path)
    stage = project.resolve("ouro", "paper").stages["longct_1_4b"]
    context: Any = SimpleNamespace(finding=lambda id, name, path, **said: (id, path))
    found: dict[str, list[Any]] = {
        family: list(without_effect(context, "box", stage.model_copy(update={"modules": {"llm": one.MODEL}}), UNEVEN))
        for family, one in test_yarn.FAMILIES.items()
    }
    assert {family for family, one in found.items() if one} == {"gemma3", "olmo3"}
    assert found["olmo3"] == [("I-11", ("rope", "yarn", "truncate"))]


def test_the_original_length_is_the_parents_context(tmp_path: Path) -> None:
    (finding,) = found(edited(tmp_path, original="8Ki", factor="8"), "I-37")
    assert finding.expected == "16,384: the length before all extensions"
    assert finding.observed == ("base 40000, yarn x8 from 8,192, after base 40000, interpolation 1")


@pytest.mark.parametrize(("key", "was", "now"), [("truncate", "true", "false"), ("beta_slow", "1", "2")])
def test_what_is_told_of_two_scalings_tells_them_apart(tmp_path: Path, key: str, was: str, now: str) -> None:
    """Base, factor and original length are the same: what differs is a figure that they are not described by."""
    edited(tmp_path)
    fields = ", ".join(f"{name}: {value}" for name, value in {**FIELDS, key: now}.items())
    rope = "rope: {base: 1_000_000, llama3: none, interpolation: 1}"
    written = f"rope: {{base: 40_000, llama3: none, interpolation: 1, yarn: {{{fields}}}}}"
    edit(tmp_path / "specs/ouro/midtrain_1_4b.yaml", rope, written)
    told = [one.observed for one in run(Project.load(tmp_path), "paper", {"I-37"}) if "midtrain_1_4b" in one.stage]
    assert told
    assert all(f"yarn x4 from 16,384, {key} {now}, after base 40000, yarn x4 from 16,384, {key} {was}" in one
               for one in told)  # fmt: skip


def test_a_sequence_longer_than_what_is_extended_to_is_a_finding(tmp_path: Path) -> None:
    (finding,) = found(edited(tmp_path, base="1_000_000", factor="2"), "I-29")
    assert (finding.observed, finding.expected) == (
        "65,536 positions", "at most 32,768 with base 1e+06, yarn x2 from 16,384",
    )  # fmt: skip


def test_the_nemo_engine_has_no_code_for_it(tmp_path: Path) -> None:
    project = edited(tmp_path)
    (finding,) = found(project, "I-45", "mini_nemo")
    assert "yarn by 4" in finding.observed
    assert "llama3 scaling, an interpolation, or neither" in finding.expected


def test_the_nemo_engine_does_not_evaluate_a_parent_with_it(tmp_path: Path) -> None:
    """Core's layers take angles alone, and YaRN multiplies queries and keys as well."""
    (finding,) = [one for one in run(edited(tmp_path), "mini_nemo", {"I-45"}) if one.stage == "ouro/midtrain_1_4b"]
    assert finding.observed == "yarn by 4, of the parent longct_1_4b, which is evaluated before training"
    turning = run(edited(tmp_path / "turning", attention_factor="1"), "mini_nemo", {"I-45"})
    assert {one.stage.partition("/")[2] for one in turning} == {"longct_1_4b"}


UNEVEN = test_yarn.PAPER.model_copy(update={"truncate": False})
YARN = Yarn(
    factor=4.0, original=32_768, beta_fast=32.0, beta_slow=1.0, truncate=True, attention_factor=None, mscale=None,
    mscale_all_dim=None,
)  # fmt: skip
ROPE = Rope(base=1e6, llama3=None, interpolation=1.0, yarn=YARN)


def test_plans_and_diffs_speak_of_it() -> None:
    plain = ROPE.model_copy(update={"yarn": None})
    other = ROPE.model_copy(update={"yarn": YARN.model_copy(update={"beta_fast": 16.0})})
    assert figures.rope(ROPE) == "1M yarn x4"
    assert _positions(plain, ROPE) == "1M → 1M yarn x4"
    assert _positions(ROPE, other) == "1M yarn x4: yarn.beta_fast 32 → 16"


def test_without_it_a_rope_is_written_as_it_was_before_there_was_any() -> None:
    plain = ROPE.model_copy(update={"yarn": None})
    assert plain.model_dump() == {"base": 1e6, "llama3": None, "interpolation": 1.0}
    assert Rope.model_validate_json(plain.model_dump_json()) == plain
    assert Rope.model_validate_json(ROPE.model_dump_json()) == ROPE


def test_a_factor_of_scores_that_is_lost_on_the_way_is_told_as_such(tmp_path: Path) -> None:
    """LongCT states one, mid-training after it none: no frequency moves, and queries are longer by a third."""
    edited(tmp_path, attention_factor="1.3")
    rope = (tmp_path / "specs" / FILE).read_text().splitlines()
    written = next(text for text in rope if text.startswith("rope:"))
    path = tmp_path / "specs/ouro/midtrain_1_4b.yaml"
    stated = "rope: {base: 1_000_000, llama3: none, interpolation: 1}"
    edit(path, stated, replaced(written, "attention_factor: 1.3", "attention_factor: none"))
    told = [one for one in run(Project.load(tmp_path), "paper", {"I-12", "I-37"}) if one.stage == "ouro/midtrain_1_4b"]
    assert [(one.id, one.observed) for one in told] == [
        ("I-12", "yarn with attention_factor none, after 1.3, and the same frequencies")
    ]
    assert told[0].at == ("longct_1_4b -> rope.yarn",)
