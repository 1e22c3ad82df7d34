"""Corpora with `answers: separate`: every answer once, conversations held out, dropped or refused whole."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import yaml

from stages.commands.left_out import lines as left_out
from stages.data import spec
from stages.data.corpus.corpus_manifest import DataManifest
from stages.data.corpus.prepared import Corpus
from stages.data.preparing import worker
from stages.data.preparing.batches import Batch, encode_batch
from stages.data.tokens import tokenizer_declared, tokenizer_files
from stages.data.tokens.encode import encode
from stages.data.tokens.tokenizer import Tokenizer
from stages.errors import InvalidSpecs
from stages.store import trees
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data import published
from tests.unit.data.conversations import REASONS, TALK, documents
from tests.unit.data.files_of_users import declare, jsonl
from tests.unit.data.own_files import run
from tests.unit.data.small import Small


def conversations(count: int) -> list[dict[str, Any]]:
    """Some of one answer, most of several, with reasoning or without."""
    draw = random.Random(3)
    rows = []
    for number in range(count):
        turns: list[dict[str, Any]] = []
        for turn in range(draw.randint(1, 4)):
            thought = f"<think>\n{number}\n</think>\n\n" if draw.random() < 0.5 else ""
            turns.append({"role": "user", "content": f"What is {number} + {turn}?"})
            turns.append({"role": "assistant", "content": f"{thought}It is {number + turn}."})
        rows.append({"messages": turns})
    return rows


def cut(project: Small, rows: list[dict[str, Any]], **more: Any) -> tuple[DataManifest, Tokenizer]:
    """Prepared with the tokenizer of a template that leaves reasoning out."""
    jsonl(project.root / "rows.jsonl", rows)
    declared = published.write(project.root, template=REASONS)
    found = tokenizer_declared.declared(
        project.root, tokenizer_files.load(project.root, "mine", declared=False), check=False
    )
    words = found.open()
    published.save(project.root, {**declared, "vocab": words.vocab, "digest": found.digest})
    said = {key: value for key, value in {"answers": "separate", **more}.items() if value is not None}
    declare(project, "rows.jsonl", "sft", tokenizer="mine", **said)
    return run(project), words


def held(project: Small, words: Tokenizer) -> list[tuple[str, bool]]:
    """What each prepared document says, and whether it is held out."""
    corpus = Corpus(project.data / "mine")
    edges = corpus.offsets[:].tolist()
    return [
        (words.decode(corpus.tokens[edges[number] : edges[number + 1]]), number >= corpus.training_documents)
        for number in range(corpus.documents)
    ]


@pytest.mark.usefixtures("cut_small")
def test_a_corpus_has_every_answer_once_and_holds_out_whole_conversations(project: Small) -> None:
    rows = conversations(120)
    made, words = cut(project, rows)
    answers = [sum(turn["role"] == "assistant" for turn in row["messages"]) for row in rows]
    assert made.documents + made.heldout == sum(answers)
    corpus = Corpus(project.data / "mine")
    alone = [encode([one], words, None) for row in rows for one in documents(row["messages"])]
    assert corpus.supervised is not None
    assert int(corpus.supervised.sum()) == sum(int(one.supervised.sum()) for one in alone)
    assert len(corpus.tokens) == sum(len(one.tokens) for one in alone)
    sides: dict[str, set[bool]] = {}
    for said, heldout in held(project, words):
        sides.setdefault(said.partition(" + ")[0], set()).add(heldout)
    assert all(len(side) == 1 for side in sides.values())
    assert {True} in sides.values()
    last = np.cumsum(answers) - 1
    repeated = len(corpus.tokens) - sum(len(alone[place].tokens) for place in last)
    assert made.inputs is not None
    assert made.inputs.separate is not None
    assert (made.inputs.separate.conversations, made.inputs.separate.repeated) == (120, repeated)
    assert f"each answer of 120 conversations is a document, and learned once; {repeated} tokens" in "".join(
        left_out(made)
    )


def test_rows_of_several_answers_come_to_no_larger_batches(project: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(batch: Batch, tokenizer: Tokenizer) -> Any:
        sizes.append(len(batch.lines))
        return encode_batch(batch, tokenizer)

    monkeypatch.setattr(worker, "ROWS", 5)
    monkeypatch.setattr(worker, "encode_batch", counted)
    rows = [{"messages": [*TALK[1:], {"role": "user", "content": str(number)}, TALK[6]]} for number in range(20)]
    cut(project, rows)
    assert sum(sizes) == 20 * 4
    assert max(sizes) == 8, "4 are not enough, and the next row ends it"


def test_a_conversation_of_which_one_answer_is_bad_is_one_bad_row(project: Small) -> None:
    rows = conversations(30)
    bad = [*TALK[1:5], {"role": "user", "content": "and <|im_end|>"}, TALK[6], TALK[1], TALK[6]]
    made, _ = cut(project, [*rows[:4], {"messages": bad}, *rows[4:]], on_bad_row={"skip": 1})
    alone, _ = cut(project, rows)
    assert made.digest == alone.digest, "none of its answers is there"
    assert made.inputs is not None
    (skipped,) = made.inputs.skipped
    assert (skipped.line, "'<|im_end|>', which is a special token" in skipped.why) == (5, True)
    assert made.inputs.separate is not None
    assert made.inputs.separate.conversations == 30


def test_conversations_that_are_there_twice_are_dropped_with_all_their_answers(project: Small) -> None:
    rows = conversations(30)
    once, _ = cut(project, rows)
    twice, _ = cut(project, [*rows, *rows[3:9]], duplicates="drop")
    assert (twice.documents, twice.heldout, twice.size) == (once.documents, once.heldout, once.size)


def test_another_corpus_is_compared_with_whole_conversations(project: Small) -> None:
    rows = conversations(30)
    jsonl(project.root / "theirs.jsonl", rows[:10])
    declare(project, "theirs.jsonl", "sft", tokenizer="mine")
    own = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    (project.root / "specs/data/theirs.yaml").write_text(yaml.safe_dump({**own, "corpus": "theirs"}))
    made, words = cut(project, rows, without=["theirs"])
    wanted = sum(turn["role"] == "assistant" for row in rows[10:] for turn in row["messages"])
    assert made.documents + made.heldout == wanted
    said = [text for text, _ in held(project, words)]
    assert not any(text.startswith(f"<|im_start|>user\nWhat is {number} +") for text in said for number in range(10))


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_any_number_of_processes_gives_the_same_bytes(project: Small) -> None:
    cut(project, conversations(60))
    wanted = {path.name: path.read_bytes() for path in (project.data / "mine").iterdir()}
    trees.remove_tree(project.data / "mine")
    run(project, processes=3)
    assert {path.name: path.read_bytes() for path in (project.data / "mine").iterdir()} == wanted


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_after_a_kill_at_any_change_of_the_disk_it_ends_with_the_same_manifest(project: Small) -> None:
    """Conversations and repeated tokens are counted in runs, some of which are of before the kill."""
    wanted, _ = cut(project, conversations(25))
    trees.remove_tree(project.data / "mine")
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        run(project)
    for at in range(1, counter.count + 1, 9):
        trees.remove_tree(project.data / "mine")
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True, after=at % 2 == 0)):
            run(project)
        assert run(project) == wanted, at


def branching(count: int) -> list[dict[str, Any]]:
    """Conversations that begin alike, three by three, as those of a tree do."""
    return [
        {"messages": [
            {"role": "user", "content": f"What is {number} + {number}, said the cat on the mat?"}, TALK[4],
            {"role": "user", "content": f"{place} hello?"}, {"role": "assistant", "content": f"It is {place}."},
        ]} for number in range(count) for place in range(3)
    ]  # fmt: skip


def test_conversations_that_begin_alike_are_apart_by_decontamination_alone(project: Small) -> None:
    """Which are held out is decided for each as a whole, so an answer that several have may be on both sides."""
    _, words = cut(project, branching(60))
    sides = [{said for said, heldout in held(project, words) if heldout is which} for which in (False, True)]
    assert sides[0] & sides[1]
    apart = {"against": {"mine": "heldout"}, "words": 8, "found": "remove"}
    made, words = cut(project, branching(60), decontaminate=apart)
    sides = [{said for said, heldout in held(project, words) if heldout is which} for which in (False, True)]
    assert sides[1]
    assert not sides[0] & sides[1]
    assert made.inputs is not None
    assert made.inputs.decontaminated is not None
    assert made.inputs.decontaminated["mine"].documents > 0


def test_a_corpus_together_gives_way_to_one_whose_answers_are_separate(project: Small) -> None:
    rows = [row for row in conversations(60) if len(row["messages"]) == 2]
    jsonl(project.root / "theirs.jsonl", rows[:5])
    declare(project, "theirs.jsonl", "sft", tokenizer="mine", answers="separate")
    own = yaml.safe_load((project.root / "specs/data/mine.yaml").read_text())
    (project.root / "specs/data/theirs.yaml").write_text(yaml.safe_dump({**own, "corpus": "theirs"}))
    made, _ = cut(project, rows, without=["theirs"], answers="together")
    assert made.documents + made.heldout == len(rows) - 5


def test_one_side_is_known_by_the_conversation_whether_its_answers_are_separate_or_not(project: Small) -> None:
    rows = [row for row in conversations(200) if len(row["messages"]) == 2]
    sides = []
    for answers in ("together", "separate"):
        _, words = cut(project, rows, answers=answers)
        sides.append({said for said, heldout in held(project, words) if heldout})
    assert sides[0]
    assert sides[0] == sides[1]


def test_together_written_out_is_what_nothing_said_is(project: Small) -> None:
    rows = [row for row in conversations(30) if len(row["messages"]) == 2]
    written, _ = cut(project, rows, answers="together")
    left_out_, _ = cut(project, rows, answers=None)
    assert (written.digest, written.inputs) == (left_out_.digest, left_out_.inputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"kind": "text"}, r"answers: found separate; allowed: none for kind text"),
     ({"answers": "apart"}, r"answers: found 'apart'; allowed: .*separate")],
)  # fmt: skip
def test_what_a_spec_may_say_of_answers(project: Small, changes: dict[str, Any], message: str) -> None:
    declare(project, "rows.jsonl", **{"kind": "sft", "answers": "separate", **changes})
    with pytest.raises(InvalidSpecs, match=message):
        spec.load(project.root, "mine", declared=False)
