"""`answers: separate`: each answer of a conversation is a document, as the model is asked for it, and learned once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, decoders, models, normalizers, trainers
from tokenizers import Tokenizer as HfTokenizer
from transformers import PreTrainedTokenizerFast

from stages.data.files import records
from stages.data.tokens import tokenizer_declared, tokenizer_files
from stages.data.tokens.encode import encode
from stages.data.tokens.template import TemplateError
from stages.data.turns import RowError
from tests.edits import replaced
from tests.unit.data import published
from tests.unit.data.conversations import LLAMA2, MARKED, PROMPTED, REASONS, SYSTEM_LAST, TALK, documents, whole
from tests.unit.data.published import opened
from tests.unit.data.talks import learned

SHAPES: dict[str, tuple[str, dict[str, str], str]] = {
    "reasoning of earlier answers": (REASONS, {}, "<|im_end|>"),
    "the same, marked": (MARKED, {}, "<|im_end|>"),
    "the system in the last question": (SYSTEM_LAST, {"turn_begin": "none", "turn_end": "</s>"}, "</s>"),
    "bos before each question": (LLAMA2, {"turn_begin": "none", "turn_end": "</s>"}, " </s>"),
    "nothing is rewritten": (published.CHATML, {}, "<|im_end|>"),
}


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
