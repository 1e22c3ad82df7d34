"""From the names in a stage's spec to a nested dictionary of numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from stages.errors import UserError
from stages.evals.answers import answers
from stages.evals.heldout import Heldout
from stages.evals.language import loops, positions, validation
from stages.evals.model import Model
from stages.evals.needle import needle
from stages.evals.pictures import digits, questions, retrieval
from stages.evals.preferences import preferences
from stages.evals.subject import Subject
from stages.spec.evaluations import EVALUATIONS
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.resolved_phases import Phase

# What computes each evaluation of `stages.spec.evaluations`.
COMPUTED: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "validation_loss": validation,
    "position_loss": positions,
    "needle": needle,
    "loops": loops,
    "zero_shot": digits,
    "retrieval": retrieval,
    "digit_questions": questions,
    "answers": answers,
    "preferences": preferences,
}


def run(
    model: Model,
    stage: Stage,
    heldout: Heldout,
    rope_override: Rope | None = None,
    phases: Sequence[Phase] = (),
    seconds: dict[str, float] | None = None,
) -> dict[str, Any]:
    """All evaluations that the stage names, as plain numbers: {section: {...}}. All ranks that share the model call it.

    `rope_override` evaluates the language model under another rope (its parent's). `phases` names the corpora and
    loops for a stage that has no phase of its own (an upcycling). `seconds` is filled with the time that each section
    took.
    Raises UserError for an unknown name, and when a held-out corpus is missing or too short.
    """
    unknown = [name for name in stage.evaluation.names if name not in EVALUATIONS]
    if unknown:
        raise UserError(
            f"{stage.pipeline}/{stage.name}: evaluate: found {', '.join(unknown)}; allowed: {', '.join(EVALUATIONS)}"
        )
    subject = Subject(model, stage, tuple(stage.phases) or tuple(phases), heldout)
    turned = nullcontext() if rope_override is None else model.turned_by(rope_override)
    with torch.no_grad(), model.evaluating(), turned:
        found = {}
        for name in stage.evaluation.names:
            section, began = EVALUATIONS[name].section, time.perf_counter()
            found[section] = COMPUTED[name](subject)
            if seconds is not None:
                seconds[section] = round(time.perf_counter() - began, 3)
        return found
