"""A mixture of conversations and text in a fine-tuning phase."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import SpecError
from stages.spec.key import stage_key
from stages.spec.project import Project
from tests.unit.spec.small_project import edit

CHATS = "corpus: chats\nkind: sft\nunit: tokens\nbuilder: file\npath: data/chats.jsonl\n"
COUNTS = f"digest: {'e' * 64}\nsize: 3_000_000\ndocuments: 90_000\nlongest: 100\nheldout: 40\n"


@pytest.fixture
def tuned(root: Path) -> Path:
    """The toy's second stage fine-tunes on the mixture `web`, in which books are conversations."""
    (root / "specs/data/chats.yaml").write_text(CHATS + COUNTS)
    edit(root, "data/mixtures.yaml", "corpus: books", "corpus: chats")
    edit(root, "toy/second.yaml", "objective: next_token", "objective: sft")
    edit(root, "toy/second.yaml", "packing: concatenate", "packing: whole")
    return root


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_text_may_stand_beside_conversations(tuned: Path, scale: str) -> None:
    (phase,) = Project.load(tuned).resolve("toy", scale).stages["second"].phases
    assert {source.corpus: source.kind for source in phase.sources}["chats"] == "sft"
    assert "chats" not in phase.replayed
    assert len(phase.replayed) == len(phase.sources) - 1


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_text_alone_has_no_answers(tuned: Path, scale: str) -> None:
    edit(tuned, "data/mixtures.yaml", "corpus: chats", "corpus: books")
    with pytest.raises(SpecError, match=r"second\.yaml:\d+: .*of kind text, which has no answers.*kind sft"):
        Project.load(tuned).resolve("toy", scale)


def test_budgets_of_conversations_are_whole_rows_where_that_is_said(tuned: Path) -> None:
    def budget(scale: str, stage: str) -> tuple[int, int]:
        phase = Project.load(tuned).resolve("toy", scale).stages[stage].phases[0]
        return phase.budget, phase.context

    text, (cut, context), full = (budget("mini", "first"), budget("mini", "second"), budget("paper", "second"))
    assert cut % context
    edit(tuned, "scales/mini.yaml", "floor: 8 steps", "floor: 8 steps, whole_rows: true")
    assert budget("mini", "second") == (-(-cut // context) * context, context)
    assert (budget("mini", "first"), budget("paper", "second")) == (text, full)


def test_a_budget_that_is_too_large_says_where_it_is_the_least_of_its_scale(tuned: Path) -> None:
    edit(tuned, "scales/mini.yaml", "floor: 8 steps", "floor: 90_000 steps")
    with pytest.raises(
        SpecError, match=r"`floor`, 90000 steps, each of [\d,]+ tokens by the `batch` beside it"
    ) as caught:
        Project.load(tuned).resolve("toy", "mini")
    assert "the least that specs/scales/mini.yaml:" in str(caught.value)
    edit(tuned, "scales/mini.yaml", "floor: 90_000 steps", "floor: 8 steps")
    edit(tuned, "scales/mini.yaml", "here: 100K", "here: 90M")
    with pytest.raises(SpecError, match="a demand of") as caught:
        Project.load(tuned).resolve("toy", "mini")
    assert "floor" not in str(caught.value)


def test_a_kind_follows_from_the_digest_and_is_in_no_key(tuned: Path) -> None:
    stage = Project.load(tuned).resolve("toy", "mini").stages["second"]
    unsaid = [source.model_copy(update={"kind": ""}) for source in stage.phases[0].sources]
    other = stage.model_copy(update={"phases": (stage.phases[0].model_copy(update={"sources": tuple(unsaid)}),)})
    above = dict.fromkeys(stage.parents, "a" * 32)
    assert stage_key(other, above) == stage_key(stage, above)
