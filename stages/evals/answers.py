"""After supervised fine-tuning: the loss of held-out answers, and whether greedy replies are well-formed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.data.document import BOS, END_THINK, EOS, IM_END, IM_START, IMAGE, PAD, THINK
from stages.evals.language import corpus_losses
from stages.evals.subject import Subject
from stages.spec.evaluations import EVALUATIONS

REPLIES = 8  # greedy replies; each token costs a forward pass over the prompts, so they are few and the shortest
LONGEST = 256  # tokens of prompt and reference; a corpus that has none so short is asked for its answers' loss only
SLACK = 1.5  # a reply may be this much longer than the longest of the reference replies


def answers(subject: Subject) -> dict[str, Any]:
    """Loss (nats a supervised token) of held-out answers, and the share of well-formed greedy replies."""
    names = subject.corpora(*EVALUATIONS["answers"].kinds)
    losses = torch.cat([corpus_losses(subject, name)[-1] for name in names])
    formed, right = [], []
    for name in names:
        prompts, references = _prompts(subject, name)
        if prompts:
            for reply, reference in zip(_reply(subject, prompts, references), references, strict=True):
                formed.append(well_formed(reply, THINK in reference))
                right.append(reply == reference)
    found: dict[str, Any] = {"loss": float(losses.mean()), "tokens": len(losses), "replies": len(formed)}
    return found | {"well_formed": float(np.mean(formed)), "exact": float(np.mean(right))} if formed else found


def well_formed(reply: list[int], reasoning: bool) -> bool:
    """Whether a reply ends with <|im_end|> and says something first.

    Reasoning replies open with <think>, close it once, and say something on both sides; others hold neither mark.
    """
    if not reply or reply[-1] != IM_END:
        return False
    said = reply[:-1]
    if any(token in (PAD, BOS, EOS, IMAGE, IM_START) for token in said):
        return False
    marks = [token for token in said if token in (THINK, END_THINK)]
    if not reasoning:
        return len(said) > 0 and not marks
    return marks == [THINK, END_THINK] and said[0] == THINK and 1 < said.index(END_THINK) < len(said) - 1


def _prompts(subject: Subject, name: str) -> tuple[list[NDArray[np.int64]], list[list[int]]]:
    """The shortest held-out prompts, up to and with the role line of the first answer, and the answers given there."""
    role = subject.heldout.tokenizer.encode("assistant\n")
    opening = np.array([IM_START, *role])
    found = []
    for document in subject.heldout.documents(name)[: 4 * subject.samples]:
        tokens = subject.heldout.tokens(name, document)
        turns = np.flatnonzero(tokens == IM_START).tolist()
        starts = [at + len(opening) for at in turns if np.array_equal(tokens[at : at + len(opening)], opening)]
        if starts:
            begin = starts[0]
            end = begin + int(np.argmax(tokens[begin:] == IM_END)) + 1
            found.append((tokens[:begin], tokens[begin:end].tolist()))
    room = min(LONGEST, subject.context)
    fitting = [pair for pair in found if len(pair[0]) + SLACK * len(pair[1]) <= room]
    chosen = sorted(fitting, key=lambda pair: len(pair[0]) + len(pair[1]))[:REPLIES]
    return [prompt for prompt, _ in chosen], [reference for _, reference in chosen]


def _reply(subject: Subject, prompts: list[NDArray[np.int64]], references: list[list[int]]) -> list[list[int]]:
    """Greedy replies, up to <|im_end|> or the length limit, without a cache: rows are short."""
    limit = int(SLACK * max(map(len, references)))
    rows = list(prompts)
    open_rows = set(range(len(rows)))
    for _ in range(limit):
        going = sorted(open_rows)
        hidden = subject.hidden(subject.text_batch([rows[row] for row in going], PAD))
        last = torch.tensor([len(rows[row]) - 1 for row in going], device=hidden.device)
        logits = subject.lm.logits(hidden[torch.arange(len(going), device=hidden.device), last])
        for row, token in zip(going, logits.argmax(-1).tolist(), strict=True):
            rows[row] = np.append(rows[row], token)
            if token == IM_END:
                open_rows.discard(row)
        if not open_rows:
            break
    return [row[len(prompt) :].tolist() for row, prompt in zip(rows, prompts, strict=True)]
