"""`weights: {extend: ...}`: from a stage on another tokenizer, which extends the parent's, with more rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.check.run import run_pipeline
from stages.errors import SpecError
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from tests.edits import replaced
from tests.unit.spec.small_project import edit

WORDS = """\
tokenizer: {name}
source: somebody/{name}
revision: main
licence: mit
path: tokenizers/{name}
vocab: {vocab}
digest: {digest}
roles: {{bos: <s>, eos: </s>, pad: none, turn_begin: none, turn_end: none}}
{more}"""


def declare(root: Path, name: str, vocab: int, digit: str, more: str = "") -> None:
    path = root / f"specs/tokenizers/{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(WORDS.format(name=name, vocab=vocab, digest=digit * 64, more=more))


@pytest.fixture
def grown(root: Path) -> Path:
    """toy/second has another tokenizer than toy/first, and a model with more rows."""
    declare(root, "old", 500, "a")
    declare(root, "larger", 600, "b", "extends: old\n")
    edit(root, "toy/pipeline.yaml", "tokenizer: toy/tokenizer", "tokenizer: old")
    small = "family: llama, layers: 2, hidden: 64, ffn: 128, heads: 4, kv_heads: 2, head_dim: 16, vocab: 512,\n"
    edit(
        root, "toy/pipeline.yaml", "  small: {" + small,
        "  large: {" + replaced(small, "512", "640") + "          norm_eps: 1e-5, tied: false, init_std: 0.02}\n"
        "  small: {" + small,
    )  # fmt: skip
    edit(root, "toy/second.yaml", "modules: {llm: small}", "modules: {llm: large}\ntokenizer: larger")
    edit(root, "toy/second.yaml", "  weights: inherit", "  weights: {extend: mean}")
    return root


def test_the_stage_and_those_below_it_have_the_larger_tokenizer_and_model(grown: Path) -> None:
    stages = Project.load(grown).resolve("toy", "paper").stages
    assert [stages[name].tokenizer[0] for name in ("first", "second", "release")] == ["a", "b", "b"]
    models = [stages[name].modules["llm"] for name in stages]
    assert [model.vocab for model in models if isinstance(model, LanguageModel)] == [512, 640, 640]
    init = stages["second"].init["llm"]
    assert (init.weights, init.extend, init.rows) == ("inherit", "mean", 500)  # of 512 rows, 12 are padding


def test_the_rule_is_in_the_key(grown: Path) -> None:
    before = Project.load(grown).resolve("toy", "paper").keys
    edit(grown, "toy/second.yaml", "{extend: mean}", "{extend: fresh}")
    after = Project.load(grown).resolve("toy", "paper").keys
    assert [before[name] == after[name] for name in ("first", "second", "release")] == [True, False, False]


def test_one_tokenizer_along_the_lineage_is_asked_for_all_the_same(grown: Path) -> None:
    found = [one for one in run_pipeline(Project.load(grown), "toy", "paper") if one.id in ("I-41", "S-04")]
    assert found == []
    declare(grown, "old", 700, "a")  # more tokens than the first model has rows
    found = [one for one in run_pipeline(Project.load(grown), "toy", "paper") if one.id in ("I-41", "S-04")]
    assert [(one.id, one.stage) for one in found] == [("S-04", "toy/first")]


BAD = [
    ("{extend: mean}", "inherit", r"modules.llm: found another model than first's; .*extend the vocabulary"),
    ("{extend: mean}", "{extend: median}", r"extend: mean \| fresh"),
    ("tokenizer: larger", "tokenizer: huge", r"tokenizer: found the unknown tokenizer 'huge'; allowed: larger, old"),
    ("tokenizer: larger\n", "", r"init.weights: found llm extended for tokenizer .*; allowed: `tokenizer:`"),
    ("modules: {llm: large}", "modules: {llm: narrow}", r"modules.llm: found a model with a vocabulary of 640"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_what_is_no_extension_is_refused_by_file_and_line(grown: Path, old: str, new: str, message: str) -> None:
    text = (grown / "specs/toy/pipeline.yaml").read_text()
    line = next(one for one in text.splitlines() if one.startswith("  large:"))
    narrow = replaced(line, "large", "narrow", "hidden: 64", "hidden: 32")
    rest = "\n          norm_eps: 1e-5, tied: false, init_std: 0.02}\n"
    (grown / "specs/toy/pipeline.yaml").write_text(replaced(text, "models:\n", f"models:\n{narrow}{rest}"))
    edit(grown, "toy/second.yaml", old, new)
    with pytest.raises(SpecError, match=message) as error:
        Project.load(grown).resolve("toy", "paper")
    assert error.value.where.file == "specs/toy/second.yaml"


def test_a_tokenizer_extends_another_of_the_project(grown: Path) -> None:
    declare(grown, "larger", 600, "b", "extends: nobody\n")
    with pytest.raises(SpecError, match=r"tokenizers/larger.yaml:9: extends: found 'nobody'; allowed: another of"):
        Project.load(grown).resolve("toy", "paper")


def test_and_not_itself_by_way_of_that(grown: Path) -> None:
    declare(grown, "old", 500, "a", "extends: larger\n")
    with pytest.raises(SpecError, match=r"tokenizers/larger.yaml:9: extends: found 'old'; allowed: another of"):
        Project.load(grown).resolve("toy", "paper")
