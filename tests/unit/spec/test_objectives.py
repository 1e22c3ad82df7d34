"""What a phase says fits the stage's modules and its data: objective, loops, router, resolutions, evaluations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from stages.errors import InvalidSpecs, SpecError, SpecErrors
from stages.spec.objectives import NEEDS
from stages.spec.project import Project
from stages.spec.resolved_phases import ObjectiveName
from tests import shipped
from tests.edits import edit, replaced, substituted

ROOT = Path(__file__).parents[3]
COCA, ALIGN = "kimi_vl/vit_coca.yaml", "kimi_vl/vit_align.yaml"
JOINT, TEXT = "kimi_vl/joint_cooldown.yaml", "kimi_vl/text_pretrain.yaml"
LLAMA, OURO = "llama31_1m/cpt_512k.yaml", "ouro/midtrain_1_4b.yaml"
LOOPED_SFT, KEPT = "ouro/reasoning_sft_1_4b.yaml", "ouro/keep_1_4b.yaml"
LOOPS, ROUTER = r"    loops: .*\n", r"    router: .*\n"


class Slip(NamedTuple):
    """An edit of a shipped stage: a regular expression and what takes its place; the finding's key, line and words."""

    what: str
    file: str
    old: str
    new: str
    key: str
    at: str  # what the reported line begins with, blanks left out
    says: str


SLIPS = [
    Slip("a looped model without loops", OURO, LOOPS, "", "phases.0.loops", "- name: main", "loops is required"),
    Slip("answers of a looped model without loops", LOOPED_SFT, LOOPS, "", "phases.0.loops", "- name",
        "loops is required"),
    Slip("loops of a plain model", LLAMA, "data: llama_long", r"data: llama_long\n    loops: {count: 4, beta: 0.05}",
        "phases.0.loops", "loops", "Remove `loops`"),
    Slip("looped on a plain model", LLAMA, "objective: next_token", "objective: looped", "phases.0.objective",
        "objective", "modules of ouro too"),
    Slip("a looped model that predicts once", OURO, "objective: looped", "objective: next_token", "phases.0.objective",
        "objective", "(looped, sft)"),
    Slip("experts without a router", JOINT, ROUTER, "", "phases.0.router", "- name: main",
        "Add `router: {bias_update: ..., aux_loss: ...}`"),
    Slip("a router without experts", LLAMA, "data: llama_long",
        r"data: llama_long\n    router: {bias_update: 0, aux_loss: 0}", "phases.0.router", "router", "Remove `router`"),
    Slip("a router of a frozen model", ALIGN, "data: kimi_align",
        r"data: kimi_align\n    router: {bias_update: 0, aux_loss: 0}", "phases.0.router", "router", "Remove `router`"),
    Slip("a stage with images that predicts text", JOINT, "objective: joint", "objective: next_token",
        "phases.0.objective", "objective", "which has images"),
    Slip("a joint stage that aligns", JOINT, "objective: joint", "objective: align", "phases.0.objective", "objective",
        "align where the language model is frozen"),
    Slip("an alignment that trains jointly", ALIGN, "objective: align", "objective: joint", "phases.0.objective",
        "objective", "joint where it is trained"),
    Slip("joint on text alone", TEXT, "objective: next_token", "objective: joint", "phases.0.objective", "objective",
        "modules of moonvit, projector too"),
    Slip("an alignment on text alone", ALIGN, "data: kimi_align", "data: kimi_text", "phases.0.data", "data",
        "no corpus of kind multimodal"),
    Slip("contrastive training of a text model", TEXT, "objective: next_token", "objective: coca", "phases.0.objective",
        "objective", "(next_token, sft)"),
    Slip("contrastive training without a text tower", COCA,
        r"text_tower: text_tower, |text_tower, (?=decoder)|text_tower: {release: siglip}, ", "", "phases.0.objective",
        "objective", "modules of text_tower too"),
    Slip("contrastive training on text", COCA, "data: kimi_pairs", "data: kimi_text", "phases.0.data", "data",
        "of kind text"),
    Slip("text training on pairs", TEXT, "data: kimi_text", "data: kimi_pairs", "phases.0.data", "data",
        "of kind pairs"),
    Slip("contrastive training in tokens", COCA, "unit: patches", "unit: tokens", "phases.0.unit", "unit", "patches"),
    Slip("text training in patches", TEXT, "unit: tokens", "unit: patches", "phases.0.unit", "unit", "tokens"),
    Slip("contrastive training without its figures", COCA, r"    coca:\n.*\n.*\n", "", "phases.0.coca", "- name: main",
        "coca is required"),
    Slip("a z-loss of contrastive training", COCA, "    coca:\n", "    z_loss: 1e-4\n    coca:\n", "phases.0.z_loss",
        "z_loss", "none with objective coca"),
    Slip("resolutions that begin late", COCA, "after: 0%", "after: 10%", "phases.0.coca.resolutions", "resolutions",
        "the first 0%"),
    Slip("resolutions out of order", COCA, "after: 75%", "after: 30%", "phases.0.coca.resolutions", "resolutions",
        "0%, 40%, 30%"),
    Slip("a misspelt evaluation", LLAMA, "validation_loss", "validation_los", "evaluate.0", "evaluate",
        "Did you mean 'validation_loss'?"),
    Slip("questions about pictures without pictures", LLAMA, "needle", "digit_questions", "evaluate.2", "evaluate",
        "a module of family moonvit"),
    Slip("loops of a plain model evaluated", LLAMA, "needle", "loops", "evaluate.2", "evaluate", "family ouro"),
    Slip("answers where nothing answers", LLAMA, "needle", "answers", "evaluate.2", "evaluate", "a corpus of kind sft"),
    Slip("retrieval without a text tower", JOINT, "digit_questions", "retrieval", "evaluate.1", "evaluate",
        "family text_tower"),
    Slip("a language model's evaluation of towers", COCA, "zero_shot", "needle", "evaluate.1", "evaluate",
        "or llama or"),
    Slip("an evaluation in a mapping", LLAMA, r"evaluate: \[.*\]", "evaluate: {heldout: [needle, loops]}",
        "evaluate.heldout.1", "evaluate", "family ouro"),
    Slip("a mapping in a list", LLAMA, "needle]", "{lm_eval: [a]}]", "evaluate.2", "evaluate",
        "in the place of the list"),
    Slip("a word", LLAMA, r"evaluate: \[.*\]", "evaluate: needle", "evaluate", "evaluate",
        "a list of names, or {heldout"),
    Slip("an evaluation of ours asked of the harness", LLAMA, r"evaluate: \[.*\]",
        "evaluate: {lm_eval: [hellaswag, needle]}", "evaluate.lm_eval.1", "evaluate", "Write it under `heldout`"),
    Slip("two tasks in a name", LLAMA, r"evaluate: \[.*\]", 'evaluate: {lm_eval: ["hellaswag,arc"]}',
        "evaluate.lm_eval.0", "evaluate", "one name an entry"),
    Slip("a task twice", LLAMA, r"evaluate: \[.*\]", "evaluate: {lm_eval: [arc, arc]}", "evaluate.lm_eval.1",
        "evaluate", "a second time"),
    Slip("a limit of nothing", LLAMA, r"evaluate: \[.*\]", "evaluate: {heldout: [needle], limit: 5}", "evaluate.limit",
        "evaluate", "with `lm_eval` only"),
    Slip("no documents", LLAMA, r"evaluate: \[.*\]", "evaluate: {lm_eval: [arc], limit: 0}", "evaluate.limit",
        "evaluate", "from 1"),
    Slip("a folder outside", LLAMA, r"evaluate: \[.*\]", "evaluate: {lm_eval: [arc], lm_eval_tasks: ../tasks}",
        "evaluate.lm_eval_tasks", "evaluate", "a folder of the project"),
    Slip("an unknown key of evaluate", LLAMA, r"evaluate: \[.*\]", "evaluate: {lm_evals: [arc]}", "evaluate.lm_evals",
        "evaluate", "Did you mean 'lm_eval'"),
    Slip("towers read by the harness", COCA, r"evaluate: \[.*\]", "evaluate: {lm_eval: [arc]}", "evaluate.lm_eval",
        "evaluate", "no export that it could read"),
    Slip("a pointer read by the harness", KEPT, "kind: keep", r"kind: keep\nevaluate: {lm_eval: [arc]}",
        "evaluate", "evaluate", "which is its parent"),
    Slip("an evaluation of a pointer", KEPT, "kind: keep", r"kind: keep\nevaluate: [loops]",
        "evaluate", "evaluate", "which is its parent"),
]  # fmt: skip


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    return shipped.copy(tmp_path)


def anyhow(text: str) -> str:
    """With one source for all its figures: what an edit took away leaves no entry that covers nothing."""
    return substituted(text, r"(?s)^sources:\n.*", 'sources:\n  - {covers: ["*"], mark: chosen}\n')


@pytest.mark.parametrize("slip", SLIPS, ids=[slip.what for slip in SLIPS])
@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_refused_at_its_line(specs: Path, slip: Slip, scale: str) -> None:
    path = specs / "specs" / slip.file
    text = substituted(path.read_text(), slip.old, slip.new, everywhere=True)
    path.write_text(anyhow(text) if "\nsources:\n" in text else text)
    with pytest.raises(InvalidSpecs) as caught:
        Project.load(specs).resolve(slip.file.partition("/")[0], scale)
    (error,) = [error for error in caught.value.errors if error.key == slip.key]
    assert error.where.file == f"specs/{slip.file}"
    assert path.read_text().splitlines()[error.where.line - 1].strip().startswith(slip.at)
    assert slip.says in str(error)


def test_pictures_come_to_a_language_model_through_a_projector(specs: Path) -> None:
    """A tower alone brings none to it: the line of the projector was lost."""
    edit(
        specs / "specs" / JOINT,
        "modules: {vit: moonvit, projector: projector, llm: moonlight}", "modules: {vit: moonvit, llm: moonlight}",
        "train: [vit, projector, llm]\nfrozen: []", "train: [llm]\nfrozen: [vit]",
        "objective: joint", "objective: sft",
    )  # fmt: skip
    with pytest.raises(InvalidSpecs) as caught:
        Project.load(specs).resolve("kimi_vl", "paper")
    (error,) = [error for error in caught.value.errors if error.key == "phases.0.data"]
    assert "for sft without a projector" in str(error)


def test_every_objective_says_what_it_needs() -> None:
    assert set(NEEDS) == set(get_args(ObjectiveName))


def test_a_trained_module_that_no_loss_reaches_is_named(specs: Path) -> None:
    path = specs / "specs" / JOINT
    text = replaced(path.read_text(), "objective: joint", "objective: sft", "kimi_cooldown", "medium_sft")
    path.write_text(anyhow(substituted(text, r"    multimodal: .*\n", "")))
    mixtures = specs / "specs/data/mixtures.yaml"
    added = "  medium_sft:\n    sources:\n      - {corpus: medium_instruct, share: 100%, group: text}\n"
    text = replaced(mixtures.read_text(), "mixtures:\n", f"mixtures:\n{added}")
    mixtures.write_text(anyhow(text))
    with pytest.raises(SpecErrors, match="'vit', which no phase's objective and data reach"):
        Project.load(specs).resolve("kimi_vl", "paper")


def test_questions_about_pictures_need_a_corpus_that_asks(specs: Path) -> None:
    """Where the corpora are local ones, and so known: what a published corpus holds is not."""
    published = specs / "specs/data/published.yaml"
    edit(published, "stand_in: digit_qa", "stand_in: captions", everywhere=True)
    with pytest.raises(InvalidSpecs, match=r"evaluate\.1: found 'digit_questions'.* builder digit_qa"):
        Project.load(specs).resolve("kimi_vl", "mini")
    Project.load(specs).resolve("kimi_vl", "paper")


def test_zero_shot_needs_pictures_of_digits(specs: Path) -> None:
    pairs = specs / "specs/data/pairs.yaml"
    text = replaced(pairs.read_text(), "builder: pairs", "builder: pictures\npath: a.tar", "count: 45000", "side: 24")
    pairs.write_text(text.partition("packages:")[0])
    with pytest.raises(InvalidSpecs, match=r"evaluate\.1: found 'zero_shot', without .* builder pairs"):
        Project.load(specs).resolve("kimi_vl", "mini")
    Project.load(specs).resolve("kimi_vl", "paper")


def test_what_was_upcycled_twice_is_evaluated_on_the_corpora_of_the_stage_that_was_trained(specs: Path) -> None:
    path = specs / "specs/ouro/upcycle_2_6b.yaml"
    twice = replaced(path.read_text(), "stage: upcycle_2_6b", "stage: twice", "from: stable_1", "from: upcycle_2_6b")
    (specs / "specs/ouro/twice.yaml").write_text(replaced(twice, "ouro_2_6b}", "ouro_5_2b}"))
    pipeline = specs / "specs/ouro/pipeline.yaml"
    text = replaced(pipeline.read_text(), "  - upcycle_2_6b\n", "  - upcycle_2_6b\n  - twice\n")
    larger = re.search(r"  ouro_2_6b:\n(    .*\n)+", text)
    assert larger is not None
    text = replaced(
        text, larger[0], larger[0] + replaced(larger[0], "ouro_2_6b", "ouro_5_2b", "layers: 48", "layers: 96")
    )
    pipeline.write_text(text)
    assert Project.load(specs).resolve("ouro", "paper").stages["twice"].evaluation.names == ("validation_loss", "loops")


def test_an_evaluation_needs_an_ancestor_that_reads_something(specs: Path) -> None:
    """A release that comes in without corpora of its own, and a larger model made of it."""
    base = specs / "specs/llama31_1m/base.yaml"
    base.write_text(
        substituted(base.read_text(), r"evaluate(_on)?: .*\n|  - .covers: .evaluate_on.*\n", "", everywhere=True)
    )
    (specs / "specs/llama31_1m/grown.yaml").write_text(
        "stage: grown\nbox: grown\nkind: upcycle\nmodules: {llm: llama31_16b}\ninit: {from: base, weights: {upcycle: "
        "concatenate}, optimizer: reset, clock: reset, data: restart}\nevaluate: [validation_loss]\n"
    )
    pipeline = specs / "specs/llama31_1m/pipeline.yaml"
    text = pipeline.read_text()
    larger = re.search(r"  llama31_8b:\n(    .*\n)+", text)
    assert larger is not None
    text = replaced(text, larger[0], larger[0] + replaced(larger[0], "31_8b", "31_16b", "layers: 32", "layers: 64"))
    pipeline.write_text(replaced(text, "stages: [base,", "stages: [base, grown,"))
    with pytest.raises(SpecError, match=r"grown\.yaml:\d+: evaluate\.0: found 'validation_loss'.* a corpus of kind"):
        Project.load(specs).resolve("llama31_1m", "paper")
