"""Needles, replies and questions, with language models whose answers are known beforehand."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.data.document import BOS, END_THINK, EOS, IM_END, IMAGE, THINK
from stages.data.tokens.roles import LOCAL
from stages.errors import UserError
from stages.evals import Whole, pictures, run
from stages.evals.answers import well_formed
from stages.evals.heldout import Heldout
from stages.evals.needle import _plant
from stages.evals.subject import Subject
from stages.models.documents import Documents
from tests.unit.evals.stages_by_hand import COCA, JOINT, LLAMA, VOCAB, made, phase, stage

Next = Callable[[list[int]], int | None]


class Knowing(nn.Module):
    """A language model that is sure of what `following` says comes next, and knows nothing where it says None."""

    def __init__(self, following: Next) -> None:
        super().__init__()
        self.following = following
        self.scale, self.softcap = nn.Parameter(torch.tensor(50.0)), None

    def embed(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, LLAMA.hidden)

    def forward(
        self, tokens: Tensor, positions: Tensor, documents: Documents | None, embeddings: Tensor | None
    ) -> Tensor:
        hidden = torch.zeros(*tokens.shape, VOCAB)
        for row, ids in enumerate(tokens.tolist()):
            for place in range(len(ids)):
                token = self.following(ids[: place + 1])
                if token is not None:
                    hidden[row, place, token] = 1.0
        return hidden

    @property
    def head(self) -> Tensor:
        return torch.eye(VOCAB) * self.scale

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden * self.scale


def results(of: Any, following: Next, heldout: Heldout) -> dict[str, Any]:
    modules = made(of)
    modules["llm"] = Knowing(following)
    return run(Whole(of, modules), of, heldout)


NEEDLES = stage({"llm": LLAMA}, ("needle",), phase("text"), context=160, old=120, samples=2)


def test_a_model_that_finds_the_needle_has_full_marks_everywhere(heldout: Heldout) -> None:
    tokenizer = heldout.tokenizer("text")

    def reads(ids: list[int]) -> int | None:
        asked = re.search(r"The number of (\w+) is $", tokenizer.decode(ids[-30:]))
        told = asked and re.search(rf"The number of {asked[1]} is (\d)\.", tokenizer.decode(ids))
        return tokenizer.encode(told[1])[0] if told else None

    found = results(NEEDLES, reads, heldout)["needle"]
    assert found["accuracy"] == 1.0
    assert found["gain"] == pytest.approx(math.log(10))
    assert {cell["length"] for cell in found["grid"]} == {40, 80, 120, 160}
    assert {cell["depth"] for cell in found["grid"]} == {0.0, 0.25, 0.5, 0.75, 1.0}


def test_a_cell_is_of_the_needles_at_its_depth(heldout: Heldout) -> None:
    """A model that reads the first three fifths of the text alone."""
    tokenizer = heldout.tokenizer("text")

    def reads(ids: list[int]) -> int | None:
        row = tokenizer.decode(ids)
        asked = re.search(r"\nThe number of (\w+) is $", row)
        told = asked and re.search(rf"\nThe number of {asked[1]} is (\d)\.\n", row)
        if not asked or not told:
            return None
        hay = len(row) - len(told[0]) - len(asked[0])
        return tokenizer.encode(told[1])[0] if told.start() <= 0.6 * hay else None

    found = results(NEEDLES, reads, heldout)["needle"]
    for cell in found["grid"]:
        assert cell["gain"] == pytest.approx(math.log(10) if cell["depth"] <= 0.5 else 0.0, abs=1e-6), cell


def test_needles_of_one_depth_differ_from_row_to_row(heldout: Heldout) -> None:
    subject = Subject(Whole(NEEDLES, made(NEEDLES)), NEEDLES, NEEDLES.phases, heldout)
    text = heldout.stretches(["text"], 160, 1)[0]
    assert len({_plant(subject, text, 0.5, number)[1] for number in range(12)}) > 3


def test_a_model_that_knows_nothing_gains_nothing(heldout: Heldout) -> None:
    found = results(NEEDLES, lambda ids: None, heldout)["needle"]
    assert found["gain"] == pytest.approx(0.0, abs=1e-6)
    assert found["accuracy"] < 0.4


CHATS = stage({"llm": LLAMA}, ("answers",), phase("chats", objective="sft"), context=128)


def test_a_model_that_knows_the_conversations_replies_word_for_word(heldout: Heldout) -> None:
    known = [heldout.tokens("chats", number).tolist() for number in heldout.documents("chats")]

    def recites(ids: list[int]) -> int | None:
        return next((doc[len(ids)] for doc in known if doc[: len(ids)] == ids and len(doc) > len(ids)), None)

    found = results(CHATS, recites, heldout)["answers"]
    assert found["well_formed"] == found["exact"] == 1.0
    assert found["replies"] == 5


def test_a_reply_that_only_begins_as_the_reference_does_is_not_exact(heldout: Heldout) -> None:
    known = [heldout.tokens("chats", number).tolist() for number in heldout.documents("chats")]

    def ends_early(ids: list[int]) -> int | None:
        begun = any(doc[: len(ids)] == ids and heldout.supervised("chats", number)[len(ids) - 1]
                    for number, doc in zip(heldout.documents("chats"), known, strict=True))  # fmt: skip
        return IM_END if begun else next((doc[len(ids)] for doc in known if doc[: len(ids)] == ids), None)

    found = results(CHATS, ends_early, heldout)["answers"]
    assert (found["well_formed"], found["exact"]) == (1.0, 0.0)


def test_a_model_that_never_stops_is_not_well_formed(heldout: Heldout) -> None:
    found = results(CHATS, lambda ids: 40, heldout)["answers"]
    assert found["well_formed"] == found["exact"] == 0.0


@pytest.mark.parametrize(
    ("reply", "reasoning", "formed"),
    [
        ([40, IM_END], False, True),
        ([IM_END], False, False),
        ([40, 41], False, False),
        ([], False, False),
        ([40, EOS, IM_END], False, False),
        ([BOS, 40, IM_END], False, False),
        ([THINK, 40, END_THINK, 41, IM_END], False, False),
        ([THINK, 40, END_THINK, 41, IM_END], True, True),
        ([40, IM_END], True, False),
        ([THINK, END_THINK, 41, IM_END], True, False),
        ([THINK, 40, END_THINK, IM_END], True, False),
        ([40, THINK, 40, END_THINK, 41, IM_END], True, False),
        ([THINK, 40, END_THINK, END_THINK, 41, IM_END], True, False),
        ([THINK, 40, END_THINK, 41], True, False),
    ],
)
def test_what_well_formed_means(reply: list[int], reasoning: bool, formed: bool) -> None:
    assert well_formed(reply, reasoning, LOCAL) is formed


def test_question_accuracy_is_the_share_of_right_words(heldout: Heldout) -> None:
    three = heldout.tokenizer("text").encode("three")

    def says_three(ids: list[int]) -> int | None:
        for said in range(len(three), -1, -1):
            if ids[len(ids) - said :] == three[:said]:
                return ([*three, IM_END])[said]
        return None

    of = stage(JOINT, ("digit_questions",), phase("questions"), samples=99)
    found = results(of, says_three, heldout)["questions"]
    assert found["questions"] == 8
    assert found["accuracy"] == found["most_frequent"] == pytest.approx(2 / 8)  # each of four words is asked for twice
    assert any(IMAGE in heldout.tokens("questions", number) for number in heldout.documents("questions"))


def test_retrieval_counts_equal_captions_as_found(heldout: Heldout, monkeypatch: pytest.MonkeyPatch) -> None:
    of = stage(COCA, ("retrieval",), phase("pairs", objective="coca"), samples=10)
    digits = heldout.pairs("pairs", 10, 32).digits
    monkeypatch.setattr(pictures, "_images", lambda subject, pixels: torch.eye(4)[torch.from_numpy(digits)])
    monkeypatch.setattr(pictures, "_texts", lambda subject, captions: torch.eye(4)[torch.from_numpy(digits)])
    found = run(Whole(of, made(of)), of, heldout)["retrieval"]
    assert found["image_to_text"] == found["text_to_image"] == 1.0
    assert found["chance"] == pytest.approx((np.bincount(digits) ** 2).sum() / 100)


def test_zero_shot_takes_the_nearest_class(heldout: Heldout, monkeypatch: pytest.MonkeyPatch) -> None:
    of = stage(COCA, ("zero_shot",), phase("pairs", objective="coca"), samples=10)
    digits = heldout.pairs("pairs", 10, 32).digits
    words = iter(range(10))
    monkeypatch.setattr(pictures, "_texts", lambda subject, captions: torch.eye(10)[[next(words)] * len(captions)])
    wrong = torch.from_numpy(digits).clone()
    wrong[0] = (wrong[0] + 1) % 10
    monkeypatch.setattr(pictures, "_images", lambda subject, pixels: torch.eye(10)[wrong])
    assert run(Whole(of, made(of)), of, heldout)["digits"] == {"accuracy": 0.9, "chance": 0.1, "pictures": 10}


def test_zero_shot_of_pictures_without_digits_says_so(heldout: Heldout, monkeypatch: pytest.MonkeyPatch) -> None:
    of, pairs = stage(COCA, ("zero_shot",), phase("pairs", objective="coca"), samples=10), Heldout.pairs
    monkeypatch.setattr(Heldout, "pairs", lambda *given: replace(pairs(*given), digits=np.full(10, -1)))
    with pytest.raises(UserError, match=r"zero_shot needs held-out pictures of one digit, .*found none in pairs"):
        run(Whole(of, made(of)), of, heldout)
