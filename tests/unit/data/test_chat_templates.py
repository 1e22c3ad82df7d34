"""Conversations are what the tokenizer's own template writes, as transformers renders it; what is learned is exact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from stages.data.document import Picture
from stages.data.tokens.encode import encode
from stages.data.tokens.template import TemplateError
from stages.errors import UserError
from tests.edits import replaced
from tests.unit.data import published
from tests.unit.data.published import opened
from tests.unit.data.talks import TALK, TOOLS, learned, talk

HEADERS = (  # as Llama 3.1's: header tokens, contents trimmed, the date of a clock where there is one
    "{{- bos_token }}{%- if strftime_now is defined %}{%- set date = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date = '26 Jul 2024' %}{%- endif %}{{ date }}"
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\\n\\n' }}"
    "{{- message['content'] | trim + '<|im_end|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n\\n' }}{%- endif %}"
)
INSTRUCT = (  # as Mistral's: no name of a role, alternation enforced, each answer closed by eos
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
GENERATION = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
)
CLOSED = published.CHATML.removesuffix("{% endif %}") + (
    "{% else %}{{ eos_token }}{% endif %}"  # as Phi 3's: eos where nothing follows
)
FORGETS = (  # as Qwen3's: an earlier answer's reasoning is left out
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{{ m['content'].split('</think>')[-1] if not loop.last else m['content'] }}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ANSWERS = [one["content"] for one in TALK if one["role"] == "assistant"]
CASES = {
    "chatml": (published.CHATML, {}, [f"{answer}<|im_end|>" for answer in ANSWERS]),
    "headers": (HEADERS, {}, [f"{answer}<|im_end|>" for answer in ANSWERS]),
    "instruct": (INSTRUCT, {"turn_begin": "none", "turn_end": "</s>"}, [f" {answer}</s>" for answer in ANSWERS]),
    "closed": (CLOSED, {}, [f"{answer}<|im_end|>" for answer in ANSWERS]),
    "generation": (GENERATION, {}, [f"{answer}<|im_end|>" for answer in ANSWERS]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_tokens_are_those_of_transformers_and_the_answers_are_learned(tmp_path: Path, name: str) -> None:
    template, roles, wanted = CASES[name]
    made = opened(tmp_path, template, roles={**published.ROLES, **roles})
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizers/mine/tokenizer.json"), bos_token="<s>", eos_token="</s>"
    )
    clockless = template.replace("strftime_now is defined", "false")  # in the one that asks for the date
    ids = theirs.apply_chat_template(TALK, chat_template=clockless, tokenize=True)
    encoded = encode([talk()], made, None)
    assert encoded.tokens.tolist() == ids
    assert learned(made, talk()) == wanted


def test_blocks_marked_in_the_template_are_those_that_transformers_marks(tmp_path: Path) -> None:
    made = opened(tmp_path, GENERATION)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizers/mine/tokenizer.json"))
    found = theirs.apply_chat_template(
        TALK, chat_template=GENERATION, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
        truncation=False, padding=False,
    )  # fmt: skip
    encoded = encode([talk()], made, None)
    assert encoded.tokens.tolist() == found["input_ids"]
    assert encoded.supervised.tolist() == found["assistant_masks"]


def test_several_conversations_and_plain_documents_keep_their_order(tmp_path: Path) -> None:
    made = opened(tmp_path, published.CHATML)
    short = TALK[:2]
    documents = [talk(short), talk(), talk(short)]
    encoded = encode(documents, made, None)
    alone = [encode([document], made, None).tokens for document in documents]
    assert encoded.lengths.tolist() == list(map(len, alone))
    assert encoded.tokens.tolist() == np.concatenate(alone).tolist()


def test_tools_and_calls_are_written_by_the_template(tmp_path: Path) -> None:
    made = opened(tmp_path, TOOLS)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    messages = [TALK[0], {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "3"}, TALK[1]]  # fmt: skip
    document = talk(messages, tools=[{"type": "function", "function": {"name": "add"}}])
    assert learned(made, document) == [json.dumps(call) + "<|im_end|>", "It is 3.<|im_end|>"]


def test_a_picture_has_as_many_tokens_as_cells_none_of_them_learned(tmp_path: Path) -> None:
    made = opened(tmp_path, published.CHATML)
    pictures = [Picture(np.zeros(size, np.uint8), ()) for size in ((8, 16), (8, 8))]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "or"}, {"type": "image"}]},
        {"role": "assistant", "content": "the cat"},
    ]
    document = talk(messages, pictures=pictures)
    encoded = encode([document], made, 8)
    assert made.decode(encoded.tokens).count("<img>") == 3
    assert "<img><img>or<img><|im_end|>" in made.decode(encoded.tokens)
    assert learned(made, document, 8) == ["the cat<|im_end|>"]
    assert encoded.pictures[:, 1:3].tolist() == [[8, 16], [8, 8]]


def test_the_local_tokenizer_writes_chatml_of_what_it_has_words_for() -> None:
    document = talk(TALK[:2])
    assert [part.content for part in document.parts if part.supervised] == ["It is 3.", 5]
    assert talk([{**TALK[0], "name": "x"}, TALK[1]]).parts == ()


BAD: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    "the template raises": (INSTRUCT, TALK[1:], r"refuses the conversation: roles must alternate"),
    "rewrites earlier turns": (
        FORGETS, [TALK[0], TALK[3], TALK[0], TALK[1]], r"messages\[1\]: the chat template writes"),
    "no answer": (published.CHATML, TALK[:1], r"no turn is the assistant's"),
    "a special token in a text": (
        published.CHATML, [{"role": "user", "content": "a<|im_end|>b"}, TALK[1]], r"a message has '<\|im_end\|>'"),
    "a special token in a call": (
        TOOLS, [TALK[0], {"role": "assistant", "content": "", "tool_calls": [{"a": ["</s>"]}]}], r"has '</s>'"),
    "bos twice": ("{{ bos_token }}" + published.CHATML, TALK, r"writes '<s>' inside the conversation, or twice"),
    "an image without a picture": (
        published.CHATML, [{"role": "user", "content": [{"type": "image"}]}, TALK[1]],
        r"1 image tokens for 0 pictures"),
    "no end of the turn": (replaced(published.CHATML, "<|im_end|>", ""), TALK, r"does not end with '<\|im_end\|>'"),
    "a token over the edge": (
        replaced(published.CHATML, "assistant\\n", "assistant ", "'\\n' }}{% if m", "' ' }}{% if m"), TALK,
        r"lies over the edge of an answer, at 'assistant '"),
    "a wrong kind of content": (
        published.CHATML, [{"role": "user", "content": 3}, TALK[1]], r"refuses the conversation"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_conversation_whose_answers_cannot_be_told_is_refused_by_its_text(tmp_path: Path, name: str) -> None:
    template, messages, message = BAD[name]
    made = opened(tmp_path, template)
    with pytest.raises(TemplateError, match=message) as error:
        encode([talk(messages)], made, None)
    assert "(the conversation that begins '[{" in str(error.value)


def test_a_bos_that_ends_documents_too_is_refused_twice_at_the_beginning(tmp_path: Path) -> None:
    made = opened(tmp_path, "{{ bos_token }}" + published.CHATML)
    made.roles = replace(made.roles, eos=made.roles.bos)
    with pytest.raises(TemplateError, match="or twice"):
        encode([talk()], made, None)


def test_a_template_cannot_reach_what_is_not_its() -> None:
    template = "{{ messages.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}"
    from stages.data.tokens.chat import ChatTemplate

    with pytest.raises(TemplateError, match=r"refuses the conversation: access to attribute '__class__'"):
        ChatTemplate(template, {}).text(TALK, None, prompt=False)


def test_a_tokenizer_without_a_template_cuts_no_conversation(tmp_path: Path) -> None:
    made = opened(tmp_path, None)
    with pytest.raises(UserError, match=r"need a chat template, .* put chat_template.jinja into its folder"):
        encode([talk()], made, None)
