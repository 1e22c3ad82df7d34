"""What an import is evaluated on: a mistake is one at every scale; in no key; read where a release comes in."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from stages.check.notices.bindings import table, unbound
from stages.check.run import run
from stages.errors import InvalidSpecs, SpecError
from stages.spec.project import Project
from stages.spec.resolved_phases import Loops
from stages.sync import dvc, graph, params
from tests import shipped
from tests.edits import edit, replaced, substituted

ROOT = Path(__file__).parents[3]
BASE = "specs/llama31_1m/base.yaml"
ON = "evaluate_on: {data: llama_long, context: 128Ki, document_mask: true}"


class Slip(NamedTuple):
    """What stands in the place of the shipped line, and the finding's key and words."""

    what: str
    new: str
    key: str
    says: str


SLIPS = [
    Slip("a misspelt mixture", replaced(ON, "llama_long", "llama_lang"), "evaluate_on.data", "mean 'llama_long'"),
    Slip("a context beyond the model's", replaced(ON, "128Ki", "256Ki"), "evaluate_on.context", "most `max_context`"),
    Slip("loops of a plain model", ON.replace("}", ", loops: 4}"), "evaluate_on.loops", "none without a looped model"),
    Slip("pairs of pictures", replaced(ON, "llama_long", "kimi_pairs"), "evaluate_on.data", "of kind pairs"),
    Slip("pictures without a tower", replaced(ON, "llama_long", "kimi_align"), "evaluate_on.data", "kind multimodal"),
    Slip("no context", replaced(ON, "context: 128Ki, ", ""), "evaluate_on.context", "context is required"),
    Slip("another key", replaced(ON, "document_mask", "mask"), "evaluate_on.mask", "unknown key"),
    Slip("a word for a mask", replaced(ON, "true", "yes"), "evaluate_on.document_mask", "true or false"),
]  # fmt: skip


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    return shipped.copy(tmp_path)


def edited(specs: Path, old: str, new: str, file: str = BASE) -> Path:
    edit(specs / file, old, new)
    return specs


def findings(specs: Path, scale: str) -> list[SpecError]:
    with pytest.raises(InvalidSpecs) as caught:
        Project.load(specs).resolve("llama31_1m", scale)
    return caught.value.errors


@pytest.mark.parametrize("slip", SLIPS, ids=[slip.what for slip in SLIPS])
@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_refused_at_its_line(specs: Path, slip: Slip, scale: str) -> None:
    (error,) = [one for one in findings(edited(specs, ON, slip.new), scale) if one.key == slip.key]
    assert error.where.file == BASE
    assert (specs / BASE).read_text().splitlines()[error.where.line - 1].startswith("evaluate_on")
    assert slip.says in str(error)


def test_a_release_that_is_to_be_evaluated_needs_something_to_be_evaluated_on(specs: Path) -> None:
    edited(edited(specs, f"{ON}\n", ""), "  - {covers: [evaluate_on], mark", "  - {covers: [execution.nodes], mark")
    (error,) = findings(specs, "paper")
    assert (error.key, error.where.file) == ("evaluate", BASE)
    assert "Add `evaluate_on: {data: ..., context: ..., document_mask: ...}`" in str(error)
    Project.load(specs).resolve("llama31_1m", "mini")  # a stand-in is evaluated on what it is trained on


def test_nothing_to_be_evaluated_by_is_a_mistake_too(specs: Path) -> None:
    edited(specs, "evaluate: [validation_loss, position_loss, needle]\n", "")
    (error,) = findings(specs, "mini")
    assert error.key == "evaluate_on"


def test_an_evaluation_that_the_corpora_do_not_serve_is_refused(specs: Path) -> None:
    edited(specs, "evaluate: [validation_loss, position_loss, needle]", "evaluate: [validation_loss, answers]")
    (error,) = findings(specs, "paper")
    assert (error.key, "a corpus of kind sft" in str(error)) == ("evaluate.1", True)


def test_it_is_in_no_key(specs: Path) -> None:
    before = {scale: Project.load(specs).keys(scale) for scale in ("mini", "paper")}
    edited(specs, ON, "evaluate_on: {data: llama_sft_long, context: 64Ki, document_mask: false}")
    assert {scale: Project.load(specs).keys(scale) for scale in before} == before
    base = Project.load(specs).resolve("llama31_1m", "paper").stages["base"]
    assert base.evaluation.context == 64 * 1024
    assert [source.corpus for phase in base.evaluated_on for source in phase.sources] == [
        "short_instructions", "long_instructions",
    ]  # fmt: skip
    assert not base.phases


def test_what_hands_on_a_release_knows_what_that_is_evaluated_on_and_says_it_in_no_record(specs: Path) -> None:
    edited(specs, "  from: sft_1m\n", "  from: base\nevaluate: [validation_loss]\n", "specs/llama31_1m/instruct.yaml")
    stages = {scale: Project.load(specs).resolve("llama31_1m", scale).stages for scale in ("mini", "paper")}
    base, instruct = (stages["paper"][name] for name in ("base", "instruct"))
    assert instruct.evaluation.on is None
    assert instruct.evaluation.on_above == base.evaluation.on is not None
    assert "on_above" not in instruct.model_dump_json()
    assert stages["paper"]["cpt_256k"].evaluation.on_above is None, "its own corpora are in its key"
    assert stages["mini"]["instruct"].evaluation.on_above is None, "those of a stand-in are in its key"


def test_a_stand_in_is_evaluated_on_what_it_was_trained_on(specs: Path) -> None:
    base = Project.load(specs).resolve("llama31_1m", "mini").stages["base"]
    assert base.evaluation.on is None
    assert base.evaluated_on == base.phases


def test_a_looped_import_says_how_often_it_is_looped(specs: Path) -> None:
    for old, new in (("{llm: llama31_8b}", "{llm: looped}"), (ON, ON.replace("}", ", loops: 3}"))):
        edited(specs, old, new)
    looped = (
        "  looped: {family: ouro, layers: 24, hidden: 2048, ffn: 5632, heads: 16, kv_heads: 16, head_dim: 128, "
        "vocab: 128_256,\n           norm_eps: 1e-6, tied: false, init_std: 0.02, post_norm_gain: 0.05}\n"
    )
    edited(specs, "\nmodels:\n", f"\nmodels:\n{looped}", "specs/llama31_1m/pipeline.yaml")
    for name in ("cpt_256k", "cpt_512k", "cpt_1m", "sft_32k", "sft_256k", "sft_1m", "instruct"):
        (specs / f"specs/llama31_1m/{name}.yaml").unlink()
    pipeline = specs / "specs/llama31_1m/pipeline.yaml"
    tree = yaml.safe_load(pipeline.read_text())
    pipeline.write_text(
        substituted(pipeline.read_text(), r"^stages: \[.*?\]|^stages:\n(  - .*\n)+", "stages: [base]\n")
    )
    assert "base" in tree["stages"]
    read = Project.load(specs).resolve("llama31_1m", "paper").stages["base"].evaluated_on
    assert [phase.loops for phase in read] == [Loops(count=3, beta=0.0)]


def test_corpora_that_are_not_bound_are_named_and_keep_it_from_being_started(specs: Path) -> None:
    project = Project.load(edited(specs, ON, replaced(ON, "llama_long", "kimi_text")))
    assert {"kimi_chinese", "kimi_knowledge"} <= {one.corpus for one in unbound(project, "paper", ["llama31_1m"])}
    (line,) = [one for one in table(project, "paper", ["llama31_1m"]) if "kimi_chinese" in one]
    assert line.split() == ["kimi_chinese", "text", "what", "is", "held", "out"]


def test_a_corpus_of_another_tokenizer_is_a_finding_at_its_line(specs: Path) -> None:
    (specs / "specs/data/bind.yaml").write_text("bind: {prolong_books: prose}\n")
    found = [one for one in run(Project.load(specs), "paper", {"I-41"}) if one.stage == "llama31_1m/base"]
    (finding,) = found
    assert finding.observed.startswith("prose, cut with tokenizer")
    assert finding.where is not None
    assert (specs / BASE).read_text().splitlines()[finding.where.line - 1] == ON


def test_dvc_and_snakemake_wait_for_its_corpora_and_watch_its_mixture(specs: Path) -> None:
    (specs / "specs/data/bind.yaml").write_text("bind: {prolong_books: prose}\n")
    project = Project.load(specs)
    loaded = graph.load(specs, project, "paper")
    assert graph.corpora(loaded.stages["llama31_1m/base"], loaded) == ("prose", "tokenizer")
    watched = params.watched(project, "llama31_1m/base", "paper")
    assert watched["specs/data/mixtures.yaml"] == ["mixtures.llama_long"]
    assert watched["specs/data/bind.yaml"] == ["bind.prolong_books"]
    wrote = yaml.safe_load(dvc.text(loaded, {ref: params.watched(project, ref, "paper") for ref in loaded.published}))
    base = wrote["stages"]["llama31_1m__base"]
    assert "results/paper/data/prose/manifest.json" in base["deps"]
    assert "results/paper/llama31_1m/base/eval.json" in wrote["metrics"]
