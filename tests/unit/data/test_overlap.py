"""Corpora that give way to others: what is left out is exact and counted."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from stages.data.corpus.prepared import Corpus
from stages.data.preparing import overlap, prepare
from stages.errors import InvalidSpecs, SpecError, UserError
from stages.spec.files import Files
from tests.unit.data.compared_corpora import OWN, THEIRS, declare, rows, said
from tests.unit.data.own_files import run
from tests.unit.data.small import Small, write_spec


def tokens(project: Small, wanted: list[str]) -> int:
    """What these texts come to, prepared alone."""
    declare(project, "alone", rows(project.root, "alone", wanted))
    made = prepare.prepare(project.root, "alone", project.data / "alone", accept=True)
    return int(Corpus(project.data / "alone").offsets[made.documents + made.heldout])


@pytest.mark.parametrize("how", ["jsonl", "jsonl.gz", "txt"])
def test_what_another_corpus_has_is_left_out_in_whatever_format_it_has_it(project: Small, how: str) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS, how))
    mixed = [*OWN, *THEIRS[3:12], *THEIRS[3:5]]
    random.Random(1).shuffle(mixed)
    declare(project, "mine", rows(project.root, "mine", mixed), without=["theirs"])
    made = run(project)
    assert said(project) == sorted(OWN)
    assert made.inputs is not None
    assert made.inputs.without is not None
    left = made.inputs.without["theirs"]
    assert (left.documents, left.tokens) == (11, tokens(project, [*THEIRS[3:12], *THEIRS[3:5]]))
    assert made.inputs.decontaminated is None
    assert [one.name for one in project.data.glob(".*")] == []


def test_a_document_is_counted_for_the_first_of_the_corpora_that_has_it(project: Small) -> None:
    declare(project, "first", rows(project.root, "first", THEIRS[:6]))
    declare(project, "second", rows(project.root, "second", THEIRS[4:10]))
    path = rows(project.root, "mine", OWN + THEIRS)
    for order, counts in ((["first", "second"], [6, 4]), (["second", "first"], [6, 4])):
        declare(project, "mine", path, without=order)
        made = run(project)
        assert made.inputs is not None
        assert made.inputs.without is not None
        assert [made.inputs.without[name].documents for name in order] == counts
        assert said(project) == sorted(OWN + THEIRS[10:])


def test_conversations_are_compared_as_a_whole_and_whatever_shape_they_have(project: Small) -> None:
    chats = [(f"{number} + 1?", f"{number + 1}") for number in range(30)]
    alpaca = [json.dumps({"instruction": ask, "output": answer}) for ask, answer in chats[:8]]
    (project.root / "theirs.jsonl").write_text("\n".join(alpaca))
    declare(project, "theirs", "theirs.jsonl", kind="sft", rows="alpaca")
    turns = [[{"role": "user", "content": ask}, {"role": "assistant", "content": said}] for ask, said in chats]
    (project.root / "mine.jsonl").write_text("\n".join(json.dumps({"messages": one}) for one in turns))
    declare(project, "mine", "mine.jsonl", kind="sft", without=["theirs"])
    made = run(project)
    assert made.documents + made.heldout == 22
    corpus = Corpus(project.data / "mine")
    assert corpus.supervised is not None
    assert len(corpus.supervised) == len(corpus.tokens)


def test_without_others_the_bytes_are_those_of_before(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    path = rows(project.root, "mine", OWN)
    declare(project, "mine", path)
    before = run(project)
    declare(project, "mine", path, without=["theirs"])
    assert run(project).digest == before.digest
    assert before.inputs is not None
    assert "without" not in before.model_dump_json(exclude_none=True)


def test_where_others_have_everything_it_is_said_so(project: Small) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "mine", rows(project.root, "mine", THEIRS[:7]), without=["theirs"])
    with pytest.raises(UserError, match=r"0 different documents.*`without` and `decontaminate` leave out do not count"):
        run(project)


def sets(against: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"decontaminate": {"against": against, "words": 13, "found": "remove", **more}}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("unknown", {"without": ["thiers"]}, r"without\.0: found the unknown corpus 'thiers'"),
    ("itself", {"without": ["mine"]}, r"without\.0: found 'mine', which gives way to 'mine'"),
    ("in a circle", {"without": ["back"]}, r"which gives way to 'mine' \(back -> mine\)"),
    ("a shipped one", {"without": ["made"]}, r"found 'made' of builder math; allowed: a corpus of builder file"),
    ("twice", {"without": ["theirs", "theirs"]}, r"without"),
    ("no set", sets({}), r"decontaminate"),
    ("an unknown set", sets({"gsm": "all"}), r"unknown corpus 'gsm'"),
    ("all of itself", sets({"mine": "all"}), r"all of the corpus itself; allowed: heldout"),
    ("another part", sets({"theirs": "test"}), r"decontaminate\.against\.theirs"),
    ("no length", {"decontaminate": {"against": {"theirs": "all"}, "found": "remove"}}, r"decontaminate\.words"),
    ("one word", sets({"theirs": "all"}, words=1), r"decontaminate\.words: found '1'"),
    ("nothing to do", {"decontaminate": {"against": {"theirs": "all"}, "words": 13}}, r"decontaminate\.found"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "says"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_a_spec_that_cannot_be_meant_is_refused_before_anything_is_read(
    project: Small, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], says: str
) -> None:
    declare(project, "theirs", rows(project.root, "theirs", THEIRS))
    declare(project, "back", "theirs.jsonl", without=["mine"])
    made = {"corpus": "made", "kind": "text", "unit": "tokens", "builder": "math", "parameters": {"count": 9}}
    write_spec(project.root, "made", made)
    declare(project, "mine", rows(project.root, "mine", OWN), **more)
    monkeypatch.setattr(overlap, "write", None)
    with pytest.raises(InvalidSpecs, match=says):
        run(project)


def test_other_builders_have_none_of_it(project: Small) -> None:
    made = {"corpus": "made", "kind": "text", "unit": "tokens", "builder": "math", "parameters": {"count": 9}}
    write_spec(project.root, "made", {**made, "without": ["made"]})
    with pytest.raises(SpecError, match=r"without: found an entry; allowed: none; builder math has no without"):
        prepare.spec.load(project.root, "made", declared=False)
    assert Files(project.root).names("data")
