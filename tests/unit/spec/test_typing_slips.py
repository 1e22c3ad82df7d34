"""What an author typed that looks right: characters like others, marks of git, lines too far in, keys of no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.nodes import parse
from stages.spec.other_trainers import REPAIRS
from stages.spec.project import Project
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.pipeline import RawPipeline
from stages.spec.schema.stages import RawTrain
from tests.unit.spec.mistakes import PIPELINE, SECOND, Bad, refused
from tests.unit.spec.small_project import edit

TOKENIZER = "data/tokenizer.yaml"


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a:\n  b: 1\nc: 2\n  d: 3\n", 4, "further in than line 3, whose key has its value already"),
        ("a: 1\n\n# a comment\n  b: 2\n", 4, "further in than line 1"),
        ("a: one: two\n", 1, "a second colon in a line"),
        ("a:\n  b: 1, c: 2}\nd: 3\n", 2, "a } that closes nothing"),
        ("a:\n  b: {c: 1,\n      d: 2}\n  e: 3, f: 4}\n", 4, "a } that closes nothing"),
        ("a: {b: 1,\n  c: 2}\nd: e: f\n", 3, "a second colon in a line"),
        ("a:\n<<<<<<< HEAD\n  b: 1\n=======\n  b: 2\n>>>>>>> theirs\n", 2, "the marks of a merge in git"),
        ("a: 1\n<<<<<<< HEAD\nb: 2\n", 2, "the marks of a merge in git"),
        ("a\N{FULLWIDTH COLON} 1\nb: 2\n", 1, "U+FF1A FULLWIDTH COLON"),
        ("a:\n  - b\n  \N{EN DASH} c\n  - d\n", 3, "U+2013 EN DASH"),
        (
            "a: \N{LEFT DOUBLE QUOTATION MARK}b: c\N{RIGHT DOUBLE QUOTATION MARK}\n",
            1,
            "U+201C LEFT DOUBLE QUOTATION MARK",
        ),
        ("a: 1\n\t# a comment\n", 2, "a tab"),
        # what somebody writes in a language of their own is no cause
        ("\N{CYRILLIC SMALL LETTER DE}: a: b\n", 1, "a second colon in a line"),
        ("a: {b: f\N{LATIN SMALL LETTER U WITH DIAERESIS}r \N{EM DASH} zwei: drei}\n", 1, "lacks a comma"),
        ("a: '\N{EM DASH}'\nb: one \N{EN DASH} two\n  c: 2\n", 3, "further in than line 2"),
        ("a: 'caf\N{LATIN SMALL LETTER E WITH ACUTE}'\nb: 1\n  c: 2\n", 3, "further in than line 2"),
    ],
)
def test_why_a_text_is_no_yaml_is_told_at_its_line(text: str, line: int, found: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text.encode(), "a.yaml")
    assert caught.value.where.line == line
    assert found in caught.value.found


BAD = [
    Bad("a minus of typography", PIPELINE, "eps: 1e-8", "eps: 1e\N{MINUS SIGN}8", "U+2212 MINUS SIGN",
        "optimizers.adamw.eps"),
    Bad("a space that does not break, before a unit", SECOND, "batch: 64 seq", "batch: 64\N{NO-BREAK SPACE}seq",
        "U+00A0 NO-BREAK SPACE", "phases.0.batch"),
    Bad("a space that does not break, at the end", SECOND, "budget: 2B", "budget: 2B\N{NO-BREAK SPACE}",
        "U+00A0 NO-BREAK SPACE", "phases.0.budget"),
    Bad("a letter of another alphabet in a word", SECOND, "clock: continue",
        "clock: \N{CYRILLIC SMALL LETTER ES}ontinue", "U+0441 CYRILLIC SMALL LETTER ES", "init.clock"),
    Bad("a letter of another alphabet in a key", SECOND, "clock: continue",
        "\N{CYRILLIC SMALL LETTER ES}lock: continue", "U+0441 CYRILLIC SMALL LETTER ES",
        "init.\N{CYRILLIC SMALL LETTER ES}lock"),
    Bad("a letter of another alphabet in a name", SECOND, "schedule: main", "schedule: m\N{CYRILLIC SMALL LETTER A}in",
        "U+0430 CYRILLIC SMALL LETTER A", "schedule"),
    Bad("thousands with a comma", TOKENIZER, "vocab: 264", "vocab: 49,152", "Write it in digits", "vocab"),
    Bad("a seed of no value", SECOND, "optimizer: adamw", "optimizer: adamw\nseed:", "take the key out", "seed", 1),
    Bad("a key that may be absent, null", SECOND, "epochs: 1", "epochs: 1\n    z_loss: null", "take the key out",
        "phases.0.z_loss", 1),
    Bad("a schedule without its name", SECOND, "schedule: main", "schedule:", "take the key out", "schedule"),
    Bad("dropout", PIPELINE, "tied: false", "dropout: 0.1, tied: false", "no model here has dropout",
        "models.small.dropout"),
    Bad("a phase's own learning rate", SECOND, "epochs: 1", "epochs: 1\n    lr: 1e-3", "`schedule`", "phases.0.lr", 1),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_one_clear_error(root: Path, bad: Bad) -> None:
    refused(root, bad)


def test_a_null_of_a_variant_removes_the_key(root: Path) -> None:
    edit(root, "toy_variant/second.yaml", "stage: second", "stage: second\nwaivers: null")
    edit(root, SECOND, "sources:", "waivers: []\nsources:")
    assert Project.load(root).resolve("toy_variant", "paper").stages["second"].waivers == ()


def test_no_key_of_another_trainer_is_one_of_a_spec() -> None:
    own = {name for model in (RawTrain, RawPhase, RawPipeline) for name in model.model_fields}
    assert not own & REPAIRS.keys()


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (
            SECOND,
            "objective: next_token",
            "objective: dpo",
            "Write `objective: preference`, and `preference: {loss: dpo",
        ),
        (SECOND, "objective: next_token", "objective: grpo", "Train it elsewhere: export the stage before"),
        (SECOND, "objective: next_token", "objective: distill", "on text that the teacher wrote"),
        (SECOND, "objective: next_token", "objective: clm", "Write `next_token`."),
        (SECOND, "packing: concatenate", "packing: bfd", "Write `whole` for documents that stay whole"),
        (SECOND, "kind: train", "kind: prune", "Models grow here"),
        (SECOND, "schedule: main", "schedule: main\nlora: {rank: 8}", "modules are trained whole, or are `frozen`"),
        (SECOND, "budget: 2B", "budget: 1000 steps", "steps times the sequences of a step times their context"),
        (PIPELINE, "to: 1e-4, until: 4B", "to: 1e-4, until: 1 epoch", "may be in epochs too: `for: 0.9 epochs`"),
        (SECOND, "batch: 64 seq", "batch: 0.5M", "the tokens of a step divided by the context are its sequences"),
        (PIPELINE, "shape: cosine", "shape: wsd", "a linear warm-up, a constant rate, a decay"),
    ],
)
def test_what_a_published_recipe_calls_it_is_answered(root: Path, file: str, old: str, new: str, said: str) -> None:
    edit(root, file, old, new)
    with pytest.raises(SpecError) as caught:
        Project.load(root).resolve("toy", "mini")
    assert said in str(caught.value)
