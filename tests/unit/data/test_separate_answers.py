"""`answers: separate`: each answer of a conversation is a document, as the model is asked for it, and learned once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tokenizers import AddedToken, decoders, models, normalizers, trainers
from tokenizers import Tokenizer as HfTokenizer
from transformers import PreTrainedTokenizerFast

from stages.commands.left_out import lines as left_out
from stages.data import prepare, records, spec, tokenizer_declared, tokenizer_files, worker
from stages.data.batches import Batch, encode_batch
from stages.data.corpus_manifest import DataManifest
from stages.data.document import Document
from stages.data.encode import encode
from stages.data.prepared import Corpus
from stages.data.template import TemplateError
from stages.data.tokenizer import Tokenizer
from stages.data.turns import RowError
from stages.errors import SpecError, SpecErrors
from stages.store import trees
from tests.edits import replaced
from tests.faults.disks import Failing, PowerCutError, using
from tests.unit.data import published, streamed
from tests.unit.data.files_of_users import declare, jsonl
from tests.unit.data.small import Small
from tests.unit.data.streamed import cut_small
from tests.unit.data.test_chat_templates import learned, opened
from tests.unit.data.test_user import project

__all__ = ["cut_small", "project"]

REASONS = (  # as Qwen3's: of answers before the last question, the reasoning is left out
    "{%- set ns = namespace(asked=0) %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{%- set ns.asked = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' and loop.index0 < ns.asked %}{{- m.content.split('</think>')[-1].lstrip('\\n') }}"
    "{%- else %}{{- m.content }}{%- endif %}{{- '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
SYSTEM_LAST = (  # as Mistral 7B v0.3's: what the system says stands in the last question
    "{{- bos_token }}{%- if messages[0].role == 'system' %}{%- set said = messages[0].content %}"
    "{%- set messages = messages[1:] %}{%- endif %}{%- for m in messages %}{%- if m.role == 'user' %}"
    "{{- '[INST] ' + (said + '\\n\\n' if said is defined and loop.revindex <= 2 and loop.revindex0 <= "
    "(messages[-1].role == 'assistant') | int else '') + m.content + '[/INST]' }}"
    "{%- else %}{{- ' ' + m.content + eos_token }}{%- endif %}{%- endfor %}"
)
PROMPTED = (  # as DeepSeek-R1's: an answer is asked for with the mark of reasoning, and written without it
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
LLAMA2 = (  # each question with its answer is a stretch from bos to eos
    "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0].content %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"
    "{% if loop.index0 == 0 and system != false %}{% set said = '<<SYS>>\\n' + system "
    "+ '\\n<</SYS>>\\n\\n' + m.content %}"
    "{% else %}{% set said = m.content %}{% endif %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + said.strip() + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + said.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MARKED = replaced(
    REASONS,
    "{{- m.content }}{%- endif %}{{- '<|im_end|>\\n' }}",
    "{%- if m.role == 'assistant' %}{% generation %}{{- m.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- m.content + '<|im_end|>' }}{%- endif %}{%- endif %}{{- '\\n' }}",
    "{{- m.content.split('</think>')[-1].lstrip('\\n') }}",
    "{% generation %}{{- m.content.split('</think>')[-1].lstrip('\\n') + '<|im_end|>' }}{% endgeneration %}",
)
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "What is 1 + 2?"},
    {"role": "assistant", "content": "<think>\nhello\n</think>\n\nIt is 3."},
    {"role": "user", "content": "the cat said hello?"},
    {"role": "assistant", "content": "<think>\nno\n</think>\n\nThe cat sat."},
    {"role": "user", "content": "It sat?"},
    {"role": "assistant", "content": "on the mat"},
]
SHAPES: dict[str, tuple[str, dict[str, str], str]] = {
    "reasoning of earlier answers": (REASONS, {}, "<|im_end|>"),
    "the same, marked": (MARKED, {}, "<|im_end|>"),
    "the system in the last question": (SYSTEM_LAST, {"turn_begin": "none", "turn_end": "</s>"}, "</s>"),
    "bos before each question": (LLAMA2, {"turn_begin": "none", "turn_end": "</s>"}, " </s>"),
    "nothing is rewritten": (published.CHATML, {}, "<|im_end|>"),
}


def documents(messages: list[dict[str, Any]], **more: Any) -> list[Document]:
    row = json.dumps({"messages": messages, **more}).encode()
    return records.documents(row, records.shape("messages", {}, separate=True))


def whole(messages: list[dict[str, Any]]) -> Document:
    return records.document(json.dumps({"messages": messages}).encode(), records.shape("messages", {}))


def theirs(root: Path, template: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(root / "tokenizers/mine/tokenizer.json"), bos_token="<s>", eos_token="</s>",
        chat_template=template,
    )  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_model_learns_each_answer_behind_the_tokens_that_transformers_asks_for_it_with(
    tmp_path: Path, name: str
) -> None:
    template, roles, end = SHAPES[name]
    made = opened(tmp_path, template, roles={**published.ROLES, **roles})
    asks = theirs(tmp_path, template)
    found = documents(TALK)
    places = [place for place, one in enumerate(TALK) if one["role"] == "assistant"]
    assert len(found) == len(places)
    for document, place in zip(found, places, strict=True):
        prompt = asks.apply_chat_template(TALK[:place], add_generation_prompt=True, tokenize=True)
        encoded = encode([document], made, None)
        assert encoded.tokens[: len(prompt)].tolist() == prompt
        assert encoded.tokens.tolist() == asks.apply_chat_template(TALK[: place + 1], tokenize=True)
        (only,) = learned(made, document)
        assert only.lstrip() == TALK[place]["content"] + end
        assert np.flatnonzero(encoded.supervised)[0] == len(prompt)


@pytest.mark.parametrize("template", [REASONS, SYSTEM_LAST])
def test_together_they_are_refused_by_what_to_write(tmp_path: Path, template: str) -> None:
    made = opened(tmp_path, template, roles={**published.ROLES, "turn_end": "none"})
    with pytest.raises(TemplateError, match=r"messages\[2\]: .*in another way where .*write `answers: separate` into"):
        encode([whole(TALK)], made, None)


def test_marked_answers_that_lose_their_reasoning_are_refused_by_what_to_write(tmp_path: Path) -> None:
    made = opened(tmp_path, MARKED)
    with pytest.raises(TemplateError, match=r"messages\[2\]: what the assistant says .*earlier .*`answers: separate`"):
        encode([whole(TALK)], made, None)


@pytest.mark.parametrize("opens", ["", "<think>\\n"])
def test_an_answer_that_no_template_writes_is_learned_behind_what_asks_for_it(tmp_path: Path, opens: str) -> None:
    """DeepSeek-R1's writes no reasoning at all, and a newer form of it opens the answer's."""
    template = replaced(PROMPTED, "<think>\\n", opens)
    made, asks = opened(tmp_path, template), theirs(tmp_path, template)
    for document, place in zip(documents(TALK[:5]), (2, 4), strict=True):
        prompt = asks.apply_chat_template(TALK[:place], add_generation_prompt=True, tokenize=True)
        says = TALK[place]["content"].removeprefix(opens.replace("\\n", "\n")) + "<|im_end|>"
        encoded = encode([document], made, None)
        assert encoded.tokens.tolist() == [*prompt, *asks.encode(says, add_special_tokens=False)]
        assert learned(made, document) == [says]
        assert np.flatnonzero(encoded.supervised)[0] == len(prompt)
        assert "<think>\nhello" not in made.decode(prompt)


def of_sentence_piece() -> HfTokenizer:
    """As Llama 2's tokenizer.json: blanks are characters, one before every text, and bytes for what has no token."""
    made = HfTokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    made.train_from_iterator([*published.TEXTS, "[INST] <<SYS>> <</SYS>> [/INST]"], trainer)
    model = json.loads(made.to_str())["model"]
    vocab = {word: number for number, word in enumerate([*model["vocab"], *(f"<0x{byte:02X}>" for byte in range(256))])}
    merges = [tuple(pair) for pair in model["merges"]]
    made.model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in published.SPECIAL])
    made.add_tokens([AddedToken(word, special=False, normalized=False) for word in ("<think>", "</think>")])
    return made


def test_llama_2s_conversations_have_a_bos_for_each_question_as_transformers_writes_them(tmp_path: Path) -> None:
    published.write(tmp_path, template=LLAMA2, roles={**published.ROLES, "turn_begin": "none", "turn_end": "</s>"})
    (tmp_path / "tokenizers/mine/tokenizer.json").write_text(of_sentence_piece().to_str())
    files = tokenizer_files.load(tmp_path, "mine", declared=False)
    made, asks = tokenizer_declared.declared(tmp_path, files, check=False).open(), theirs(tmp_path, LLAMA2)
    assert made.unknown is None
    encoded = encode([whole(TALK)], made, None)
    ids = asks.apply_chat_template(TALK, tokenize=True)
    assert encoded.tokens.tolist() == ids
    assert ids.count(made.roles.bos) == 3
    edges = np.flatnonzero(np.diff(encoded.supervised.astype(int), prepend=0, append=0)).reshape(-1, 2)
    for (start, end), place in zip(edges.tolist(), (2, 4, 6), strict=True):
        assert ids[:start] == asks.apply_chat_template(TALK[:place], add_generation_prompt=True, tokenize=True)
        assert ids[:end] == asks.apply_chat_template(TALK[: place + 1], tokenize=True)
        said = made.decode(ids[start:end])
        assert "".join(said.split()) == "".join(f"{TALK[place]['content']}</s>".split())


ASKED = {
    "no reasoning where the template opens it": (
        PROMPTED, TALK[6], r"ends with '<think>\\n', and the answer does not begin so"),
    "reasoning in a key of its own": (
        PROMPTED, {"role": "assistant", "content": "3", "reasoning_content": "x"}, r"does not go on from there"),
    "an answer that the template changes": (
        replaced(PROMPTED, "[-1]", "[-1] + '.'"), TALK[2], r"does not go on from there"),
    "an answer that it does not close": (
        replaced(PROMPTED, "+ '<|im_end|>'", ""), TALK[2], r"does not go on from there"),
    "a text that asks for something else": (
        replaced(PROMPTED, "'<|im_start|>assistant", "'<|im_start|>helper"), TALK[2], r"does not go on from there"),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_that_the_model_would_not_say_there_is_refused(tmp_path: Path, name: str) -> None:
    template, answer, message = ASKED[name]
    with pytest.raises(TemplateError, match=message):
        encode(documents([TALK[1], answer]), opened(tmp_path, template), None)


def test_together_such_an_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"does not go on from there.* Write `answers: separate` into"):
        encode([whole(TALK[1:3])], opened(tmp_path, PROMPTED), None)


def test_reasoning_in_a_key_of_its_own_is_learned_and_has_to_be_written(tmp_path: Path) -> None:
    template = replaced(
        REASONS,
        "{%- else %}{{- m.content }}",
        "{%- else %}{{- '<think>' + m.reasoning_content + '</think>' if m.reasoning_content else '' }}{{- m.content }}",
    )
    talk = [TALK[1], {"role": "assistant", "reasoning_content": "hello, 3", "content": "It is 3."}, *TALK[3:5]]
    made = opened(tmp_path, template)
    assert [learned(made, one) for one in documents(talk)] == [
        ["<think>hello, 3</think>It is 3.<|im_end|>"], [TALK[4]["content"] + "<|im_end|>"],
    ]  # fmt: skip
    with pytest.raises(TemplateError, match=r"messages\[1\]: what the assistant says is not in the answer"):
        encode(documents(talk)[:1], opened(tmp_path, REASONS), None)


def test_what_earlier_answers_say_after_their_reasoning_has_to_be_there(tmp_path: Path) -> None:
    made = opened(tmp_path, replaced(REASONS, ".lstrip('\\n')", "[:3]"))
    with pytest.raises(TemplateError, match=r"messages\[2\]: what the assistant says is not in the text"):
        encode(documents(TALK)[1:2], made, None)


def test_the_answers_of_a_prompt_may_be_rewritten_too(tmp_path: Path) -> None:
    made = opened(tmp_path, REASONS)
    row = json.dumps({"prompt": TALK[:4], "completion": TALK[4:5]}).encode()
    document = records.document(row, records.shape("prompt_completion", {}))
    assert learned(made, document) == [TALK[4]["content"] + "<|im_end|>"]


def test_a_completion_of_several_answers_has_a_document_for_each_of_them() -> None:
    row = json.dumps({"prompt": TALK[:4], "completion": TALK[4:]}).encode()
    found = records.documents(row, records.shape("prompt_completion", {}, separate=True))
    assert [len(one.conversation.messages) for one in found if one.conversation] == [5, 7]
    assert {one.part_of for one in found} == {records.document(row, records.shape("prompt_completion", {})).identity}


def test_answers_that_come_to_more_text_than_a_row_may_have_are_refused() -> None:
    long = [turn for number in range(200) for turn in ({"role": "user", "content": f"{number}" + "x" * 1000}, TALK[6])]
    with pytest.raises(RowError, match=r"^200 answers, each .*have 2\d,\d{3},\d{3} characters together") as error:
        documents(long)
    assert error.value.allowed == "16,777,216: divide the conversation into shorter ones"


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
    return prepare.prepare(project.root, "mine", project.data / "mine", accept=True), words


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
    streamed.run(project, processes=3)
    assert {path.name: path.read_bytes() for path in (project.data / "mine").iterdir()} == wanted


@pytest.mark.slow
@pytest.mark.usefixtures("cut_small")
def test_after_a_kill_at_any_change_of_the_disk_it_ends_with_the_same_manifest(project: Small) -> None:
    """Conversations and repeated tokens are counted in runs, some of which are of before the kill."""
    wanted, _ = cut(project, conversations(25))
    trees.remove_tree(project.data / "mine")
    counter = Failing(at=0, code=None, lasting=False)
    with using(counter):
        streamed.run(project)
    for at in range(1, counter.count + 1, 9):
        trees.remove_tree(project.data / "mine")
        with pytest.raises(PowerCutError), using(Failing(at, None, lasting=True, after=at % 2 == 0)):
            streamed.run(project)
        assert streamed.run(project) == wanted, at


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
    with pytest.raises((SpecError, SpecErrors), match=message):
        spec.load(project.root, "mine", declared=False)
