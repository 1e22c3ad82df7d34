"""Pairs of answers: rows in each shape become one document of both, and what is no pair is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.data.corpus.prepared import Corpus
from stages.data.tokens.encode import Encoded
from stages.data.tokens.preference import BEGINS, joined
from stages.data.tokens.template import TemplateError
from stages.errors import InvalidSpecs, UserError
from tests.unit.data.files_of_users import declare, identities, jsonl, parquet, read
from tests.unit.data.own_files import run
from tests.unit.data.small import Small


def asked(number: int) -> list[dict[str, str]]:
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": f"{number} + 1?"}]


def answer(text: object) -> dict[str, str]:
    return {"role": "assistant", "content": str(text)}


def pair(number: int, right: object = None, wrong: object = None) -> dict[str, Any]:
    chosen, rejected = (number + 1 if right is None else right), (f"not {number}" if wrong is None else wrong)
    return {"chosen": [*asked(number), answer(chosen)], "rejected": [*asked(number), answer(rejected)]}


ROWS = [pair(number) for number in range(40)]
SHAPES: dict[str, list[dict[str, Any]]] = {
    "messages": ROWS,
    "prompt_completion": [
        {"prompt": row["chosen"][:2], "chosen": row["chosen"][2:], "rejected": row["rejected"][2:]} for row in ROWS
    ],
    "alpaca": [
        {"instruction": row["chosen"][1]["content"], "system": "be brief", "chosen": row["chosen"][2]["content"],
         "rejected": row["rejected"][2]["content"]} for row in ROWS
    ],
}  # fmt: skip


def prepared(project: Small, rows: list[dict[str, Any]], **more: object) -> Corpus:
    jsonl(project.root / "a.jsonl", rows)
    declare(project, "a.jsonl", "preference", **more)
    run(project)
    return project.corpus("mine")


def test_a_pair_is_the_same_document_in_every_shape_and_format(project: Small) -> None:
    found = []
    for name, rows in SHAPES.items():
        for file, write in (("a.jsonl", jsonl), ("a.parquet", parquet)):
            write(project.root / file, rows)
            declare(project, file, "preference", rows=name)
            found.append(identities(project))
    assert len(set(found[0])) == len(ROWS)
    assert all(one == found[0] for one in found)


def test_two_strings_get_no_turns(project: Small) -> None:
    rows = [{"prompt": f"{number} + 1 = ", "chosen": f"{number + 1}", "rejected": "no"} for number in range(3)]
    jsonl(project.root / "a.jsonl", rows)
    declare(project, "a.jsonl", "preference", rows="prompt_completion")
    first = read(project)[0]
    assert [[part.content for part in side.parts] for side in first.sides] == [["0 + 1 = ", "1"], ["0 + 1 = ", "no"]]
    assert [part.supervised for part in first.parts] == [False, True]


def test_all_pairs_of_a_prompt_are_held_out_or_none(project: Small) -> None:
    jsonl(project.root / "a.jsonl", [pair(number % 40, wrong=f"no {number}") for number in range(400)])
    declare(project, "a.jsonl", "preference")
    sides: dict[str | None, set[bool]] = {}
    for document in read(project):
        sides.setdefault(document.part_of, set()).add(document.heldout)
    assert len(sides) == 40
    assert all(len(one) == 1 for one in sides.values())


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "the same twice": ("messages", pair(1, "x", "x"), "chosen and rejected say the same"),
    "the same strings": ("prompt_completion", {"prompt": "a", "chosen": "b", "rejected": "b"}, "say the same"),
    "another question": (
        "messages", {"chosen": [*asked(1), answer(2)], "rejected": [*asked(2), answer(2)]},
        r"chosen\[1\] is a turn of the user, and the first in which the two diff",
    ),
    "no question": ("messages", {"chosen": [answer(1)], "rejected": [answer(2)]}, "begin with an answer, and no"),
    "answers beside their question": (
        "messages", {"prompt": asked(1), "chosen": [answer(1)], "rejected": [answer(2)]}, "or `rows: prompt_com",
    ),
    "strings for lists of turns": (
        "messages", {"prompt": "a", "chosen": "b", "rejected": "c"}, "strings instead .* `rows: prompt_completion`",
    ),
    "whole lists of turns beside a string": (
        "prompt_completion", {"prompt": "a", **pair(1)}, "prompt is a string, .* begin with a prompt; .* `rows: mess",
    ),
    "no rejected answer": (
        "messages", {"chosen": [*asked(1), answer(2)], "rejected": asked(1)}, "rejected: no turn is the assistant's",
    ),
    "a question behind the answer": (
        "messages", {"chosen": [*asked(1), answer(2), asked(3)[1]], "rejected": [*asked(1), answer(3)]},
        "chosen ends with a turn of the user",
    ),
    "only the beginning of the other": (
        "messages", {"chosen": [*asked(1), answer(2), asked(3)[1], answer(4)], "rejected": [*asked(1), answer(2)]},
        "rejected is the beginning of the other",
    ),
    "a column that is missing": ("messages", {"chosen": [*asked(1), answer(2)]}, "the key 'rejected' is missing"),
    "an empty answer": ("messages", pair(1, "", "x"), r"chosen\[2\].content is empty"),
    "no answer": ("messages", {**pair(1), "rejected": None}, "rejected is null instead of a list of turns"),
    "a list beside a string": (
        "prompt_completion", {"prompt": "a", "chosen": "b", "rejected": [answer("c")]}, "rejected is a list instead",
    ),
    "the prompt again in the answer": (
        "prompt_completion", {"prompt": asked(1), **pair(1)}, "chosen begins with a turn of the system, .* `rows: mess",
    ),
    "a string beside a list": (
        "prompt_completion", {"prompt": asked(1), "chosen": [answer("c")], "rejected": "x"}, "rejected is a string",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_pair_is_refused_with_file_and_row(project: Small, name: str) -> None:
    shape, row, why = BAD[name]
    (project.root / "a.jsonl").write_text(json.dumps(row) + "\n")
    declare(project, "a.jsonl", "preference", rows=shape)
    with pytest.raises(UserError, match=rf"^a\.jsonl:1: .*{why}.*"):
        read(project)


def test_bad_rows_are_left_out_and_counted_where_the_spec_says_so(project: Small) -> None:
    rows = [*ROWS, pair(50, "x", "x"), *[pair(number) for number in range(60, 70)]]
    corpus = prepared(project, rows, on_bad_row={"skip": 1})
    assert corpus.documents == len(rows) - 1
    assert corpus.manifest.inputs is not None
    assert [(one.file, one.line) for one in corpus.manifest.inputs.skipped] == [("a.jsonl", 41)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rows": "sharegpt"}, "allowed: messages, alpaca, prompt_completion"),
        ({"answers": "separate"}, "none for kind preference"),
        ({"unit": "items"}, "allowed: tokens"),
        ({"columns": {"messages": "x"}}, "chosen"),
    ],
)
def test_what_a_spec_cannot_say_of_pairs_is_refused(project: Small, more: dict[str, Any], said: str) -> None:
    jsonl(project.root / "a.jsonl", ROWS)
    declare(project, "a.jsonl", "preference", **more)
    with pytest.raises(InvalidSpecs, match=said):
        read(project)


@pytest.mark.parametrize("side", [0, 1])
def test_a_pair_of_which_one_conversation_could_not_be_written_goes_and_the_others_stay_together(side: int) -> None:
    """Each conversation is its number, asked and answered: 2k is the chosen one of pair k."""
    written = [number for number in range(6) if number != 2 + side]
    tokens = np.array([token for number in written for token in (1, 7, 10 + number)], dtype=np.uint16)
    mask = np.array([0, 0, 1] * 5, dtype=np.uint8)
    nothing = np.zeros(0, dtype=np.uint8), np.zeros((0, 5), dtype=np.int64)
    sides = Encoded(tokens, np.full(5, 3, dtype=np.int64), mask, *nothing)
    made, bad = joined(sides, {2 + side: TemplateError("no")}, ["a", "b", "c"])
    assert list(bad) == [1]
    assert made.lengths.tolist() == [6, 6]
    assert made.tokens.tolist() == [1, 7, 10, 1, 7, 11, 1, 7, 14, 1, 7, 15]
    assert made.supervised.tolist() == [0, 0, 1, BEGINS, 0, 1] * 2


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        ((1, 7, 10), (1, 7, 10), "both answers become the same tokens, so neither is preferred"),
        ((1, 7, 10), (1, 8, 11), "the prompt becomes other tokens before the chosen answer than before the rejected"),
        ((10,), (11,), "nothing stands before the answers, so nothing predicts their first token"),
    ],
)
def test_conversations_whose_tokens_are_no_pair_go_and_are_named(
    chosen: tuple[int, ...], rejected: tuple[int, ...], why: str
) -> None:
    """The last token of each is its answer. The texts differed: a tokenizer may make the same of them."""
    tokens = np.array([*chosen, *rejected, 1, 7, 14, 1, 7, 15], dtype=np.uint16)
    lengths = np.array([len(chosen), len(rejected), 3, 3], dtype=np.int64)
    mask = np.zeros(len(tokens), dtype=np.uint8)
    mask[np.cumsum(lengths) - 1] = 1
    nothing = np.zeros(0, dtype=np.uint8), np.zeros((0, 5), dtype=np.int64)
    made, bad = joined(Encoded(tokens, lengths, mask, *nothing), {}, ["a", "b"])
    assert made.tokens.tolist() == [1, 7, 14, 1, 7, 15]
    assert [*bad] == [0]
    assert str(bad[0]).startswith(why)


def test_two_answers_that_become_the_same_tokens_are_bad(project: Small, tmp_path: Path) -> None:
    """The local tokenizer keeps everything, so the pair is made of two texts that only differ outside of it."""
    from stages.data.document import Part, plain
    from stages.data.tokens.encode import encode_accepted
    from stages.data.tokens.tokenizer import Tokenizer
    from stages.data.tokens.tokenizer_use import FILE

    tokenizer = Tokenizer(project.data / "tokenizer" / FILE)

    def side(prompt: str, said: str) -> Any:
        one = plain(json.dumps([prompt, said]), "", False)
        return one.__class__(one.identity, (Part(prompt, False), Part(said, True)), False)

    def refused(*both: tuple[str, str]) -> str:
        chosen, rejected = (side(*one) for one in both)
        made = chosen.__class__(chosen.identity, chosen.parts, False, rejected=rejected)
        encoded, bad = encode_accepted([made], tokenizer, None)
        assert len(encoded.lengths) == 1 - len(bad)
        return str(bad.get(0, ""))

    assert refused(("ask", "yes"), ("ask", "no")) == ""
    assert "both answers become the same tokens" in refused(("ask", "yes"), ("ask", "yes"))
    assert "the prompt becomes other tokens before the chosen" in refused(("ask", "yes"), ("asks", "no"))
