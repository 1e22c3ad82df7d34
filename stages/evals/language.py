"""Losses: on the held-out part of each corpus, by position in a long row, and by Ouro's number of loops."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from stages.contract.evaluated_rows import FEWEST_ANSWERS, FEWEST_FULL, FEWEST_LONG
from stages.data.loading.sample import Sample
from stages.errors import UserError
from stages.evals.pictures import pair_loss
from stages.evals.subject import Subject, plain_row
from stages.spec.evaluations import EVALUATIONS, TOKEN_KINDS


def validation(subject: Subject) -> dict[str, Any]:
    """Loss (nats a supervised token) on held-out rows of each corpus, and over all of them.

    For CoCa's objective: the loss of held-out pairs, see `pair_loss`.
    """
    if subject.phases[-1].coca is not None:
        return pair_loss(subject)
    by_corpus, total, count = {}, 0.0, 0
    for name in subject.corpora(*TOKEN_KINDS):
        losses = corpus_losses(subject, name)[-1]
        if len(losses):
            by_corpus[name] = float(losses.mean())
            total, count = total + float(losses.sum()), count + len(losses)
    if not count:
        raise _too_little(subject)
    return {"loss": total / count, "tokens": count, "by_corpus": by_corpus}


def loops(subject: Subject) -> dict[str, Any]:
    """Ouro's validation loss when it stops after 1, 2, ... loops: {"1": ..., "2": ...}."""
    corpora = [corpus_losses(subject, name) for name in subject.corpora(*TOKEN_KINDS)]
    if not any(len(losses[-1]) for losses in corpora):
        raise _too_little(subject)
    return {
        str(number): float(joined(parts).mean()) for number, parts in enumerate(zip(*corpora, strict=True), start=1)
    }


def _too_little(subject: Subject) -> UserError:
    """No corpus holds out as much as one row: a user's corpus of a few documents."""
    names = ", ".join(subject.corpora(*TOKEN_KINDS))
    return UserError(f"{names}: too little is held out for one row of {subject.context} tokens; add documents.")


def positions(subject: Subject) -> dict[str, Any]:
    """Loss by position in rows of the full context, each a stretch of one held-out document where one is long enough.

    `within` and `beyond` are the losses before and from the parent's context on, if this stage extends it.
    """
    context, old = subject.context, subject.stage.evaluation.old_context
    rows = long_rows(subject, context + 1, subject.rows(context, FEWEST_LONG))
    parts = list(subject.losses([plain_row(row) for row in rows]))
    losses = torch.cat([by_loop[-1] for by_loop, _ in parts])
    places = torch.cat([place for _, place in parts])
    edges = sorted({0, context // 8, context // 4, context // 2, context} | ({old} if old and old < context else set()))
    buckets = []
    for start, end in pairwise(edges):
        chosen = losses[(places >= start) & (places < end)]
        buckets.append({"from": start, "to": end, "loss": float(chosen.mean()), "tokens": len(chosen)})
    found: dict[str, Any] = {"rows": len(rows), "buckets": buckets}
    if old is not None and old < context:
        found |= {"within": float(losses[places < old].mean()), "beyond": float(losses[places >= old].mean())}
    return found


def long_rows(subject: Subject, length: int, count: int) -> list[Any]:
    """Up to `count` stretches of `length` held-out tokens of text (of conversations, for want of text)."""
    names = subject.corpora(*EVALUATIONS["position_loss"].kinds)
    text = [name for name in names if subject.heldout.kind(name) == "text"]
    return subject.heldout.stretches(text or names, length, count)


def corpus_losses(subject: Subject, name: str) -> list[Tensor]:
    """Loss [n] of every supervised token of a corpus's held-out rows, after each loop (once, without loops)."""
    if name not in subject.by_corpus:
        batches = [by_loop for by_loop, _ in subject.losses(heldout_rows(subject, name))]
        nothing = [[torch.empty(0)] * (subject.loops or 1)]
        subject.by_corpus[name] = [torch.cat(parts) for parts in zip(*(batches or nothing), strict=True)]
    return subject.by_corpus[name]


def joined(corpora: Sequence[Tensor]) -> Tensor:
    """Losses of several corpora, one corpus after the other; those of a corpus without any are on no device."""
    return torch.cat([losses for losses in corpora if len(losses)] or list(corpora[:1]))


def heldout_rows(subject: Subject, name: str) -> list[Sample]:
    """Held-out rows of a corpus at the length of the evaluation."""
    mask = subject.phases[-1].document_mask
    fewest = FEWEST_ANSWERS if subject.heldout.kind(name) == "sft" else FEWEST_FULL
    return subject.heldout.rows(name, subject.context, subject.rows(subject.context, fewest), mask)
