"""Needle in a haystack: a fact planted in held-out text at some depth, asked for at the end of the row.

The score does not need a model that can chat: which of the ten digits does it think most likely to come next?
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.contract.evaluated_rows import DEPTHS, haystacks, needle_lengths
from stages.data.draws import Draws
from stages.data.tokens.tokenizer import Tokenizer
from stages.errors import UserError
from stages.evals.language import long_rows
from stages.evals.subject import Subject

NAMES = ("Ada", "Emmy", "Alan", "Grace", "Kurt", "Sofia")


def needle(subject: Subject) -> dict[str, Any]:
    """Accuracy and gain over all cells, and the grid by length and depth.

    `gain` is the mean of log p(right digit among the ten) + log 10, in nats: 0 is chance.
    """
    grid = [cell for length in needle_lengths(subject.stage.evaluation) for cell in _cells(subject, length)]
    scores = {key: float(np.mean([cell[key] for cell in grid])) for key in ("accuracy", "gain")}
    return {**scores, "chance": 0.1, "grid": grid}


def _cells(subject: Subject, length: int) -> list[dict[str, Any]]:
    hay = long_rows(subject, length, haystacks(subject.stage.evaluation, length))
    rows, answers = [], []
    for depth in DEPTHS:
        for number, text in enumerate(hay):
            row, answer = _plant(subject, text, depth, number)
            rows.append(row)
            answers.append(answer)
    right, gain = _score(subject, rows, answers)
    cells = []
    for place, depth in enumerate(DEPTHS):
        part = slice(place * len(hay), (place + 1) * len(hay))
        accuracy = float(right[part].float().mean())
        found = {"length": length, "depth": depth, "accuracy": accuracy, "gain": float(gain[part].mean())}
        cells.append(found | {"rows": len(hay)})
    return cells


def _plant(subject: Subject, text: NDArray[np.int64], depth: float, number: int) -> tuple[NDArray[np.int64], int]:
    """A row of the text's length with the fact in it and the question at its end, and the digit asked for."""
    draws = Draws("needle", len(text), number, depth)
    name, digit = draws.choice(NAMES), draws.below(10)
    fact = subject.tokenizer.encode(f"\nThe number of {name} is {digit}.\n")
    question, _ = asked(subject.tokenizer, name)
    rest = text[: len(text) - len(fact) - len(question)]
    place = max(1, round(depth * len(rest)))  # never before the first token, which may be BOS
    return np.concatenate([rest[:place], fact, rest[place:], question]).astype(np.int64), digit


def asked(tokenizer: Tokenizer, name: str) -> tuple[list[int], list[int]]:
    """The question's tokens, and the ten tokens that may come next, one for each digit.

    A tokenizer may join a digit and the space before it: what all ten have in common is the question. Raises UserError
    where two digits go on with the same token.
    """
    answered = [tokenizer.encode(f"\nThe number of {name} is {digit}") for digit in range(10)]
    place = next((at for at, ids in enumerate(zip(*answered, strict=False)) if len(set(ids)) > 1), 0)
    following = [ids[place] for ids in answered]
    if len(set(following)) != 10:
        raise UserError(
            "evaluate: needle: found a tokenizer that has no token of its own for each of the ten digits; allowed: one "
            "that has them. Leave the evaluation out."
        )
    return answered[0][:place], following


def _score(subject: Subject, rows: list[NDArray[np.int64]], answers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    candidates = torch.tensor(asked(subject.tokenizer, NAMES[0])[1])
    wanted = torch.tensor(answers)
    last = [range(len(row) - 1, len(row)) for row in rows]
    scores = subject.logits(rows, last).float().cpu()[:, candidates].log_softmax(-1)
    gain = scores.gather(1, wanted[:, None])[:, 0].double() + math.log(10)
    return scores.argmax(1) == wanted, gain
