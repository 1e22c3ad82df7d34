"""Chat templates that rewrite earlier answers, and a conversation that each of them tells apart."""

from __future__ import annotations

import json
from typing import Any

from stages.data.document import Document
from stages.data.files import records
from tests.edits import replaced

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


def documents(messages: list[dict[str, Any]], **more: Any) -> list[Document]:
    row = json.dumps({"messages": messages, **more}).encode()
    return records.documents(row, records.shape("messages", {}, separate=True))


def whole(messages: list[dict[str, Any]]) -> Document:
    return records.document(json.dumps({"messages": messages}).encode(), records.shape("messages", {}))
