"""Preference training in specs: every figure is written, and what makes no sense is refused at its line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from stages.contract import hardware, memory_engine
from stages.contract.cost_phase import Assumed, operations
from stages.contract.layouts import contradictions, undivided, unsupported
from stages.contract.parameters import parameters
from stages.errors import InvalidSpecs
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Preference
from tests.edits import edit, replaced
from tests.unit.spec import small_project
from tests.unit.spec.spec_files import ROOT

STAGE = "specs/toy/second.yaml"
SETTINGS = "preference: {loss: dpo, beta: 0.1, answers: sum, turn_ends: masked, nll: 0.2}"
ASSUMED = Assumed(Fraction(1, 2), Fraction(1, 4), {})


@pytest.fixture
def preferring(root: Path) -> Path:
    """The toy project, whose second stage is of preference training."""
    small_project.prefer(root, SETTINGS)
    return root


def resolved(root: Path) -> Stage:
    return Project.load(root).resolve("toy", "paper").stages["second"]


PARALLEL = "{tp: 2, pp: 2, cp: 2, ep: 1, vpp: 1, sequence_parallel: true, distributed_optimizer: true, recompute: none}"


def test_at_a_scale_with_the_nemo_engine_that_engine_trains_it_too(preferring: Path) -> None:
    assert resolved(preferring).execution.engine == "torch"
    edit(
        preferring / "specs/scales/paper.yaml",
        "engine: torch\nengine_class: torch-bf16", "engine: nemo\nengine_class: nemo-bf16\ntorch_class: torch-bf16",
        "determinism: exact}", f"determinism: exact, parallel: {PARALLEL}}}",
    )  # fmt: skip
    stage = Project.load(preferring).resolve("toy", "paper").stages["second"]
    assert (stage.execution.engine, stage.engine_class) == ("nemo", "nemo-bf16")
    assert [*undivided(stage), *contradictions(stage), *unsupported(stage)] == []


def test_what_is_written_is_what_the_stage_has(preferring: Path) -> None:
    (phase,) = resolved(preferring).phases
    assert phase.preference == Preference(loss="dpo", beta=0.1, answers="sum", turn_ends="masked", nll=0.2)
    assert [(source.corpus, source.kind) for source in phase.sources] == [("feedback", "preference")]
    assert resolved(preferring).read_frozen == ("llm",)


@pytest.mark.parametrize("key", ["loss: dpo, ", "beta: 0.1, ", "answers: sum, ", "turn_ends: masked, "])
def test_no_figure_has_a_default(preferring: Path, key: str) -> None:
    edit(preferring / STAGE, key, "")
    with pytest.raises(InvalidSpecs, match=rf"phases.0.preference.{key.partition(':')[0]}"):
        resolved(preferring)


REFUSED = [
    ("packing: whole", "packing: concatenate", "phases.0.packing", "A pair that is cut is no pair"),
    ("document_mask: true", "document_mask: false", "phases.0.document_mask", "must not see each other"),
    ("data: pairs", "data: pairs\n    z_loss: 1e-4", "phases.0.z_loss", "none with objective preference"),
    ("data: pairs", "data: web", "phases.0.data", "corpora of kind preference for preference"),
    (f"\n    {SETTINGS}", "", "phases.0.preference", "preference is required for objective preference"),
    ("objective: preference", "objective: sft", "phases.0.preference", "none without objective preference"),
    ("weights: inherit", "weights: fresh", "init.weights", "it is the reference of objective preference"),
    ("weights: inherit", "weights: {release: some}", "init.weights", "found release for llm"),
    ("beta: 0.1", "beta: 0", "phases.0.preference.beta", "above 0"),
    ("loss: dpo", "loss: kto", "phases.0.preference.loss", "dpo"),
    ("loss: dpo", "loss: apo", "phases.0.preference.loss", "Write `apo_zero`."),
]


@pytest.mark.parametrize(("old", "new", "key", "says"), REFUSED, ids=[f"{old} -> {new}" for old, new, *_ in REFUSED])
def test_what_makes_no_sense_is_refused_at_its_line(preferring: Path, old: str, new: str, key: str, says: str) -> None:
    edit(preferring / STAGE, old, new)
    with pytest.raises(InvalidSpecs) as error:
        resolved(preferring)
    found = str(error.value)
    assert "toy/second.yaml:" in found
    assert key in found
    assert says in found


def test_a_corpus_of_kind_dpo_is_told_its_kind_not_an_objective(preferring: Path) -> None:
    edit(preferring / "specs/data/published.yaml", "kind: preference", "kind: dpo")
    with pytest.raises(InvalidSpecs, match=r"corpora.feedback.kind: found 'dpo'.* Write `preference` for"):
        resolved(preferring)


def test_an_evaluation_that_there_is_no_corpus_for_is_answered_with_those_that_can_be(preferring: Path) -> None:
    edit(preferring / STAGE, "sources:\n", "evaluate: [preferences, validation_loss]\nsources:\n")
    with pytest.raises(InvalidSpecs, match=r"'validation_loss', without a corpus .*; allowed: preferences\."):
        resolved(preferring)


def test_fine_tuning_before_it_is_a_stage_of_its_own(preferring: Path) -> None:
    """Its reference is what the stage is given, and a phase before it would not be in that."""
    text = (preferring / STAGE).read_text()
    begin, end = text.index("  - name: main"), text.index("sources:")
    first = text[begin:end].replace("name: main", "name: before").replace(f"\n    {SETTINGS}", "")
    first = first.replace("objective: preference", "objective: next_token").replace("data: pairs", "data: web")
    first, rest = (replaced(one, "budget: 2B", "budget: 1B") for one in (first, text[begin:]))
    (preferring / STAGE).write_text(text[:begin] + first + rest)
    with pytest.raises(InvalidSpecs, match="preference, in a stage with a phase of next_token"):
        resolved(preferring)


def test_plans_have_the_memory_and_the_pass_of_the_reference(preferring: Path) -> None:
    stage = resolved(preferring)
    (phase,) = stage.phases
    plain = phase.model_copy(update={"preference": None})
    alone = stage.model_copy(update={"phases": (plain,)})
    card = hardware.load(Project.load(ROOT).files, "h100")
    more = memory_engine.of(stage, phase, card, "one").states - memory_engine.of(alone, plain, card, "one").states
    assert more == 4 * parameters(stage.modules["llm"]).total
    forward_and_backward = operations(alone, plain, ASSUMED)
    assert operations(stage, phase, ASSUMED) == pytest.approx(forward_and_backward * 4 / 3)
