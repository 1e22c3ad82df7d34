"""After supervised fine-tuning: the loss of held-out answers, and whether greedy replies are well-formed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.evaluated_rows import LONGEST, REPLIES, SLACK
from stages.data.tokens.roles import Roles
from stages.evals.language import corpus_losses, joined
from stages.evals.subject import Subject
from stages.spec.evaluations import EVALUATIONS


def answers(subject: Subject) -> dict[str, Any]:
    """Loss (nats a supervised token) of held-out answers, and the share of well-formed greedy replies."""
    names = subject.corpora(*EVALUATIONS["answers"].kinds)
    losses = joined([corpus_losses(subject, name)[-1] for name in names])
    formed, right = [], []
    for name in names:
        prompts, references = _prompts(subject, name)
        if prompts:
            for reply, reference in zip(_reply(subject, prompts, references), references, strict=True):
                formed.append(well_formed(reply, subject.roles.think in reference, subject.roles))
                right.append(reply == reference)
    found: dict[str, Any] = {"loss": float(losses.mean()), "tokens": len(losses), "replies": len(formed)}
    return found | {"well_formed": float(np.mean(formed)), "exact": float(np.mean(right))} if formed else found


def well_formed(reply: list[int], reasoning: bool, roles: Roles) -> bool:
    """Whether a reply ends with the token that ends a turn and says something first.

    Reasoning replies open with <think>, close it once, and say something on both sides; others hold neither mark.
    """
    if not reply or reply[-1] != roles.turn_end:
        return False
    said = reply[:-1]
    if not roles.outside_replies.isdisjoint(said):
        return False
    think, end = roles.think, roles.end_think
    marks = [token for token in said if token in (think, end)]
    if not reasoning or think is None or end is None:
        return len(said) > 0 and not marks
    return marks == [think, end] and said[0] == think and 1 < said.index(end) < len(said) - 1


def _prompts(subject: Subject, name: str) -> tuple[list[NDArray[np.int64]], list[list[int]]]:
    """The shortest held-out prompts, up to the first answer's first token, and the answers given there."""
    found = []
    for document in subject.heldout.documents(name)[: 4 * subject.samples]:
        tokens, learned = subject.heldout.tokens(name, document), subject.heldout.supervised(name, document)
        ends = np.flatnonzero(learned & (tokens == subject.roles.turn_end))
        if len(ends):
            begin, end = int(np.argmax(learned)), int(ends[0]) + 1
            found.append((tokens[:begin], tokens[begin:end].tolist()))
    room = min(LONGEST, subject.context)
    fitting = [pair for pair in found if len(pair[0]) + SLACK * len(pair[1]) <= room]
    chosen = sorted(fitting, key=lambda pair: len(pair[0]) + len(pair[1]))[:REPLIES]
    return [prompt for prompt, _ in chosen], [reference for _, reference in chosen]


def _reply(subject: Subject, prompts: list[NDArray[np.int64]], references: list[list[int]]) -> list[list[int]]:
    """Greedy replies, up to the end of the turn or the length limit, without a cache: rows are short."""
    limit = int(SLACK * max(map(len, references)))
    rows = list(prompts)
    open_rows = set(range(len(rows)))
    for _ in range(limit):
        going = sorted(open_rows)
        last = [range(len(rows[row]) - 1, len(rows[row])) for row in going]
        logits = subject.logits([rows[row] for row in going], last)
        for row, token in zip(going, logits.argmax(-1).tolist(), strict=True):
            rows[row] = np.append(rows[row], token)
            if token == subject.roles.turn_end:
                open_rows.discard(row)
        if not open_rows:
            break
    return [row[len(prompt) :].tolist() for row, prompt in zip(rows, prompts, strict=True)]
