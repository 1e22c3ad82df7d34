"""A conversation, a chat template that writes tools, and what of a document is learned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from stages.data.document import Document, conversation
from stages.data.tokens.encode import encode
from stages.data.tokens.tokenizer import Tokenizer

TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\n' + (tools | tojson) + '<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + (m['content'] or '') }}"
    "{% for c in m.get('tool_calls') or [] %}{{ c | tojson }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "What is 1 + 2?"},
    {"role": "assistant", "content": "It is 3."},
    {"role": "user", "content": "the cat said hello?"},
    {"role": "assistant", "content": "<think>hello, hello</think>The cat sat.\nhello"},
]


def talk(messages: list[dict[str, Any]] = TALK, **more: Any) -> Document:
    return conversation(json.dumps(messages), messages, False, **more)


def learned(made: Tokenizer, document: Document, cell: int | None = None) -> list[str]:
    """The stretches that are learned, as text."""
    encoded = encode([document], made, cell)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], encoded.supervised, [0]]).astype(int)))
    return [made.decode(encoded.tokens[start:end]) for start, end in edges.reshape(-1, 2)]
