"""Whether the model itself finds the chosen one of two held-out answers the more probable: without a reference."""

from __future__ import annotations

from typing import Any

import torch

from stages.data.loading.sample import UNSUPERVISED
from stages.errors import UserError
from stages.evals.subject import Subject
from stages.spec.evaluations import EVALUATIONS


def preferences(subject: Subject) -> dict[str, Any]:
    """Of held-out pairs: the share in which the chosen answer has the higher log-probability, and by how many nats, a
    mean over the pairs. It is the sum over an answer's tokens or their mean, and with or without what ends a turn, as
    the last phase says.
    """
    settings = subject.phases[-1].preference
    if settings is None:
        raise ValueError(f"{subject.stage.pipeline}/{subject.stage.name}: its last phase reads no pairs of answers")
    names, margins = subject.corpora(*EVALUATIONS["preferences"].kinds), list[float]()
    for name in names:
        rows = subject.heldout.answers(name, subject.context, subject.samples, settings.turn_ends == "learned")
        lengths = [int((row.labels != UNSUPERVISED).sum()) for row in rows]
        losses = torch.cat([torch.empty(0), *(by_loop[-1].cpu() for by_loop, _ in subject.losses(rows))])
        found = [
            -float(answer.mean() if settings.answers == "mean" else answer.sum()) for answer in losses.split(lengths)
        ]
        margins += [chosen - rejected for chosen, rejected in zip(found[::2], found[1::2], strict=True)]
    if not margins:
        raise UserError(
            f"{', '.join(names)}: no held-out pair has two answers of at most {subject.context} tokens with their "
            "prompt; add pairs, or evaluate at a longer context."
        )
    right = sum(margin > 0 for margin in margins)
    return {"accuracy": right / len(margins), "margin": sum(margins) / len(margins), "pairs": len(margins)}
