"""Every mistake in a spec gets one clear error, with file and line, and no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from stages.errors import SpecError, SpecErrors
from stages.spec.project import Project
from tests.unit.spec.small_project import edit

FIRST, SECOND, PIPELINE = "toy/first.yaml", "toy/second.yaml", "toy/pipeline.yaml"
MIXTURES, MINI = "data/mixtures.yaml", "scales/mini.yaml"


class Bad(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    says: str  # words of the message
    key: str
    lines_down: int = 0  # from the edited place to the reported line
    reported: str = ""  # the file that the error names, if another than the edited one


BAD = [
    Bad("unknown key", SECOND, "box: Second", "box: Second\nboks: x", "unknown key 'boks'", "boks", 1),
    Bad("unknown key, nested", SECOND, "context: 8Ki", "contxt: 8Ki", "Did you mean 'context'?", "phases.0.contxt"),
    Bad("ranks that no number of nodes shares evenly", SECOND, "box: Second",
        "box: Second\nexecution: {nodes: 3, ranks: 64}", "64 ranks on 3 nodes", "execution", 1),
    Bad("missing key", SECOND, "    epochs: 1\n", "", "epochs is required", "phases.0.epochs", -7),
    Bad("wrong unit", SECOND, "batch: 64 seq", "batch: 64", "sequences, from 1 seq to 10M seq", "phases.0.batch"),
    Bad("steps for tokens", SECOND, "budget: 2B", "budget: 100 steps", "tokens", "phases.0.budget"),
    Bad("negative budget", SECOND, "budget: 2B", "budget: -2B", "from 1 to", "phases.0.budget"),
    Bad("zero budget", SECOND, "budget: 2B", "budget: 0", "from 1 to", "phases.0.budget"),
    Bad("part of a token", SECOND, "budget: 2B", "budget: 1.5", "whole number", "phases.0.budget"),
    Bad("wrong type", SECOND, "document_mask: true", "document_mask: [1]", "a list", "phases.0.document_mask"),
    Bad("a mapping for a number", SECOND, "epochs: 1", "epochs: {a: b}", "a mapping", "phases.0.epochs"),
    Bad("unknown objective", SECOND,
        "objective: next_token", "objective: nxt", "'next_token'", "phases.0.objective"),
    Bad("unknown kind", SECOND, "kind: train", "kind: trane", "Did you mean 'train'?", "kind"),
    Bad("a class of transformers for a family", PIPELINE,
        "family: llama", "family: DeepseekV3ForCausalLM", "Write `moonlight`.", "models.small.family"),
    Bad("a family that is not here", PIPELINE,
        "family: llama", "family: gpt_neox", "docs/adding-a-family.md", "models.small.family"),
    Bad("a part of a module", SECOND, "train: [llm]", "train: [llm.q_proj]", "trained or frozen whole", "train"),
    Bad("a path for a name", SECOND,
        "weights: inherit", "weights: {release: releases/small}", "not a path", "init.weights"),
    Bad("a task of the harness among evaluations", SECOND,
        "box: Second", "box: Second\nevaluate: [mmlu]", "lm_eval: [mmlu]", "evaluate.0", 1),
    Bad("unknown schedule", SECOND, "schedule: main", "schedule: mian", "Did you mean 'main'?", "schedule"),
    Bad("unknown schedule, clock reset", FIRST,
        "schedule: main", "schedule: mian", "Did you mean 'main'?", "schedule"),
    Bad("unknown optimizer", SECOND, "optimizer: adamw", "optimizer: adam", "Did you mean 'adamw'?", "optimizer"),
    Bad("unknown model", SECOND, "{llm: small}", "{llm: smal}", "Did you mean 'small'?", "modules.llm"),
    Bad("unknown mixture", SECOND, "data: web", "data: wob", "Did you mean 'web'?", "phases.0.data"),
    Bad("unknown corpus", MIXTURES,
        "corpus: books", "corpus: boks", "Did you mean 'books'?", "mixtures.web.sources.1.corpus"),
    Bad("shares that do not sum to 1", MIXTURES,
        "share: 20%", "share: 20.5%", "100.5%", "mixtures.web.sources", -2),
    Bad("share without per cent", MIXTURES,
        "share: 20%", "share: 0.2", "a share, above 0% and at most 100%", "mixtures.web.sources.1.share"),
    Bad("missing parent", SECOND, "from: first", "from: frist", "Did you mean 'first'?", "init.from"),
    Bad("cycle", FIRST, "init:\n", "init:\n  from: second\n", "a cycle: first <- second <- first", "init.from", 1),
    Bad("unlisted stage", PIPELINE,
        "stages: [first, second, release]", "stages: [first, second]", "does not list", "stage",
        reported="toy/release.yaml"),
    Bad("stage without a file", PIPELINE,
        "second, release]", "second, release, third]", "'third' without a file", "stages"),
    Bad("name and file differ", SECOND, "stage: second", "stage: secnd", "'second'", "stage"),
    Bad("module in neither list", SECOND,
        "train: [llm]\nfrozen: []", "train: [vit]\nfrozen: []", "unknown module 'vit'", "train"),
    Bad("module in both lists", SECOND, "frozen: []", "frozen: [llm]", "both train and frozen", "modules.llm", -2),
    Bad("inherits from nowhere", FIRST, "weights: fresh", "weights: inherit", "no parent for llm", "init.from", -1),
    Bad("unknown weights", FIRST, "weights: fresh", "weights: frsh", "inherit, fresh", "init.weights"),
    Bad("continues without a parent", FIRST,
        "clock: reset", "clock: continue", "no clock to continue", "init.clock"),
    Bad("number without a source", FIRST,
        '  - {covers: ["*"], mark: chosen}', "  - {covers: [phases, execution, rope.interpolation], mark: chosen}",
        "10_000 without a source", "rope.base", -28),
    Bad("many numbers without a source are one mistake", FIRST,
        '  - {covers: ["*"], mark: chosen}\n', "",
        "10_000 without a source, and ", "rope.base", -28),
    Bad("a citation that says that nothing is published", FIRST,
        "mark: published, citation: a table", "mark: published, citation: not published; as the stage before",
        "where it is published", "sources.0.citation"),
    Bad("a number that is none of arXiv's", FIRST,
        "citation: a table", "citation: arXiv 25021.3189 table 1", "a number such as 2504.07491", "sources.0.citation"),
    Bad("a month that the year does not have", FIRST,
        "citation: a table", "citation: arXiv 2513.13189", "a number such as 2504.07491", "sources.0.citation"),
    Bad("a digit of the number lost, in an address", FIRST,
        "citation: a table", 'citation: "https://arxiv.org/abs/2502.1318"', "a number such as 2504.07491",
        "sources.0.citation"),
    Bad("a citation that is still to be written", FIRST,
        "citation: a table", "citation: TODO", "where it is published", "sources.0.citation"),
    Bad("source that covers nothing", FIRST,
        "phases.short.budget]", "phases.shrt.budget]", "covers no figure", "sources.0.covers"),
    Bad("published without citation", FIRST,
        "mark: published, citation: a table", "mark: published", "need a citation",
        "sources.0.citation"),
    Bad("assumed without reason", FIRST,
        "mark: published, citation: a table", "mark: assumed", "need a reason", "sources.0.reason"),
    Bad("a citation that says nothing", PIPELINE, "citation: none", "citation: ''", "where it is published, or none",
        "citation"),
    Bad("a title that says nothing", PIPELINE, "title: A toy", "title: ' '", "text that says something", "title"),
    Bad("a box without a title", SECOND, "box: Second", "box: '-'", "text that says something", "box"),
    Bad("a citation of a source that says nothing", FIRST,
        "citation: a table", "citation: ' '", "where it is published", "sources.0.citation"),
    Bad("a published corpus without a place", "data/published.yaml", "books: {kind: text, citation: somewhere",
        "books: {kind: text, citation: tbd", "where it is published, or none", "corpora.books.citation"),
    Bad("a prefix in small letters", SECOND, "budget: 2B", "budget: 2b", "Write 2B.", "phases.0.budget"),
    Bad("a context in bytes' units", SECOND, "context: 8Ki", "context: 8KiB", "Write 8Ki.", "phases.0.context"),
    Bad("minutes by their first letter", MINI, "memory: 1 GB}", "memory: 1 GB, time_limit: 90m}", "Write 90 min.",
        "execution.time_limit"),
    Bad("memory in terabytes", MINI, "memory: 1 GB}", "memory: 1.5 TB}", "Write 1500 GB.", "execution.memory"),
    Bad("memory in powers of two", MINI, "memory: 1 GB}", "memory: 4 GiB}", "Write 4294 MB.", "execution.memory"),
    Bad("a unit as a word", SECOND, "batch: 64 seq", "batch: 64 sequences", "Write 64 seq.", "phases.0.batch"),
    Bad("a list for a text", "toy/release.yaml", "{from: second}", "{from: [first, second]}", "Write one value.",
        "init.from"),
    Bad("a key with a blank behind it", SECOND, "optimizer: adamw", '"optimizer ": adamw', "Did you mean 'optimizer'?",
        "optimizer "),
    Bad("reason cut by a comma", SECOND, "mark: chosen", "mark: chosen, reason: one, two words",
        "Put quotes around the text", "sources.0.two words"),
    Bad("duplicate key", SECOND, "box: Second", "box: Second\nbox: Twice", "a second time", "box", 1),
    Bad("bad YAML", SECOND, "train: [llm]", "train: [llm", "YAML", "YAML syntax", 1),
    Bad("alias", SECOND, "box: Second", "box: *b", "the alias *b", "box"),
    Bad("anchor", SECOND, "box: Second", "box: &b Second", "the anchor &b", "box"),
    Bad("tag", SECOND, "box: Second", "box: !!python/name:os.system x", "the tag", "box"),
    Bad("merge key", SECOND, "init:\n", "init:\n  <<: {a: b}\n", "merge key", "init", 1),
    Bad("second document", SECOND, "sources:", "---\nsources:", "a second document", "the file"),
    Bad("schedule shorter than its stages", PIPELINE,
        "until: 4B}\n  other", "until: 3B}\n  other", "reach the stage's end",
        "schedule", reported="toy/second.yaml"),
    Bad("jump without a reason", PIPELINE,
        "{shape: cosine, to", "{shape: cosine, from: 2e-3, to", "a jump of the learning rate",
        "schedules.main.1.from"),
    Bad("piece with two ends", PIPELINE,
        "for: 100 steps", "for: 100 steps, until: 1B", "exactly one", "schedules.main.0"),
    Bad("piece without a target", PIPELINE,
        "{shape: cosine, to: 1e-4, ", "{shape: cosine, ", "`to: <rate>`", "schedules.main.1"),
    Bad("1/sqrt to zero", PIPELINE,
        "{shape: cosine, to: 1e-4", "{shape: inverse_sqrt, to: 0", "never comes to 0", "schedules.main.1.to"),
    Bad("a power that rises", PIPELINE, "{shape: cosine, to: 1e-4", "{shape: power, exponent: 1, to: 1e-2",
        "a rate that falls", "schedules.main.1.to"),
    Bad("a power without exponent", PIPELINE,
        "{shape: cosine, to: 1e-4", "{shape: power, to: 1e-4", "without `exponent`", "schedules.main.1"),
    Bad("an exponent of a cosine", PIPELINE, "{shape: cosine, to: 1e-4", "{shape: cosine, exponent: 1, to: 1e-4",
        "with shape power", "schedules.main.1"),
    Bad("negative rate", PIPELINE, "to: 1e-4", "to: -1e-4", "from 0 to 1e9", "schedules.main.1.to"),
    Bad("unknown model field", PIPELINE, "layers: 2,", "layrs: 2,", "Did you mean 'layers'?", "models.small.layrs"),
    Bad("size of an unknown model", PIPELINE,
        "models:", "parameters: {lm2: 1B}\nmodels:", "unknown model 'lm2'", "parameters.lm2"),
    Bad("claim over an unknown stage", PIPELINE,
        "lineage: second", "lineage: secnd", "unknown stage 'secnd'", "claims.0"),
    Bad("language model without RoPE", SECOND,
        "rope: {base: 10_000, llama3: none, interpolation: 1}\n", "", "rope where", "rope", -14),
    Bad("batch ramp that falls back", FIRST, "{after: 0.5B,", "{after: 0,", "rising", "phases.0.batch"),
    Bad("share without two groups", SECOND,
        "    data: web\n", "    data: web\n    multimodal: {from: 0%, to: 40%, over: 50%}\n",
        "both groups", "phases.0.multimodal", 1),
    Bad("exhausted corpus", "data/prose.yaml",
        "size: 3_000_000", "size: 100_000", "Declare more epochs", "phases.1.data",
        reported=FIRST),
    Bad("digest that is none", "data/prose.yaml", "digest: aaaa", "digest: zzzz", "blake3", "digest"),
    Bad("unknown key of a corpus", "data/prose.yaml", "kind: text", "kind: text\nknid: text",
        "Did you mean 'kind'?", "knid", 1),
    Bad("unknown builder", "data/code.yaml", "builder: file", "builder: fiel", "Did you mean 'file'?", "builder"),
    Bad("a path out of the project", "data/code.yaml",
        "path: data/code.jsonl", "path: ../code.jsonl", "relative to the project", "path"),
    Bad("a corpus that is not declared", "data/code.yaml",
        "size: 1_000_000\n", "", "stages data code --accept", "size", -6),
    Bad("text as answers", SECOND, "objective: next_token", "objective: sft", "has no answers", "phases.0.data", 9),
    Bad("corpus in the wrong group", MIXTURES,
        "books, share: 20%, group: text", "books, share: 20%, group: multimodal", "corpus of kind text",
        "mixtures.web.sources.1.group"),
    Bad("a local corpus with a published name", "data/published.yaml", "  books:", "  code:",
        "also specs/data/code.yaml", "corpora.code"),
    Bad("a tokenizer of an unknown corpus", "data/tokenizer.yaml", "[prose]", "[poems]", "unknown corpus 'poems'",
        "corpora.0"),
    Bad("unknown stand-in", "data/published.yaml", "stand_in: code", "stand_in: kode", "Did you mean 'code'?",
        "corpora.repos.stand_in"),
    Bad("scale that does not know a pipeline", MINI,
        "  toy:\n", "  tay:\n", "nothing about pipeline 'toy'", "pipelines", -1),
    Bad("unknown base scale", MINI, "extends: paper", "extends: papr", "Did you mean 'paper'?", "extends"),
    Bad("context that does not come out whole", MINI,
        "context: 1/64", "context: 1/6000", "whole", "pipelines.toy.context"),
    Bad("division by zero", MINI, "context: 1/64", "context: 1/0", "divided by zero", "pipelines.toy.context"),
    Bad("phase too short for its pieces", MINI,
        "min_piece: 2 steps", "min_piece: 400 steps", "min_piece", "schedule",
        reported=FIRST),
    Bad("unknown model field at a scale", MINI, "small: {layers: 1}", "small: {layrs: 1}", "Did you mean 'layers'?",
        "pipelines.toy.models.small.layrs"),
    Bad("unknown extended pipeline", "toy_variant/pipeline.yaml",
        "extends: toy", "extends: tay", "Did you mean 'toy'?", "extends"),
    Bad("variant that extends itself", "toy_variant/pipeline.yaml",
        "extends: toy", "extends: toy_variant", "toy", "extends"),
]  # fmt: skip


def resolve_everything(root: Path) -> None:
    project = Project.load(root)
    for scale in ("paper", "mini"):
        for pipeline in project.pipelines(variants=True):
            project.resolve(pipeline, scale)


def test_the_project_they_are_made_from_is_good(root: Path) -> None:
    resolve_everything(root)


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_clear_error(root: Path, bad: Bad) -> None:
    line = edit(root, bad.file, bad.old, bad.new) + bad.lines_down
    with pytest.raises(SpecError) as caught:
        resolve_everything(root)
    error = caught.value
    assert error.where.file == f"specs/{bad.reported or bad.file}"
    assert error.key == bad.key
    assert bad.says in str(error)
    assert error.repair
    if not bad.reported:
        assert error.where.line == line


def test_several_mistakes_come_together_in_file_order(root: Path) -> None:
    edit(root, SECOND, "budget: 2B", "budget: two")
    edit(root, SECOND, "context: 8Ki", "context: wide")
    with pytest.raises(SpecErrors) as caught:
        resolve_everything(root)
    assert [error.key for error in caught.value.errors] == ["phases.0.budget", "phases.0.context"]


def test_a_broken_file_of_any_bytes_is_one_error(root: Path) -> None:
    for data in (
        b"\xff\xfe\x00",
        b"",
        b"a: \x07",
        b"- 1",
        b"[" * 5000,
        b"{a: b" * 3000,
        b"\x00" * 10,
        b"a: 1\n" * 300_000,
    ):
        (root / "specs" / SECOND).write_bytes(data)
        with pytest.raises(SpecError, match=r"specs/toy/second\.yaml:\d+: "):
            resolve_everything(root)
