"""Floating-point operations of a phase: what its modules cost for its budget. Conventions as in `cost`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from stages.contract import cost, cost_coca, ledger
from stages.errors import UserError
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED, Model, MoonViTModel, ProjectorModel
from stages.spec.resolved_phases import Phase


@dataclass(frozen=True)
class Assumed:
    """What a resolved stage cannot say about its data, and a price needs.

    `side`: an image's side as a share of the vision tower's position table; `positions`: the share of a multimodal
    row's positions that are image tokens; `lengths`: mean tokens of a document, by corpus, where known.
    """

    side: Fraction
    positions: Fraction
    lengths: Mapping[str, float]


def operations(stage: Stage, phase: Phase, assumed: Assumed) -> float:
    """Operations of the whole phase, forward and backward."""
    if phase.objective == "coca":
        return _coca(stage, phase)
    return sum(one.work.flops(one.moves, one.gradient) for one in modules(stage, phase, assumed))


@dataclass(frozen=True)
class Module:
    """A module's work in a phase, whether its weights move, and whether a gradient flows through it."""

    model: Model
    work: cost.Work
    moves: bool
    gradient: bool


def modules(stage: Stage, phase: Phase, assumed: Assumed) -> list[Module]:
    """The modules of a phase of tokens, from the data on. Raises UserError for one that has no part in it."""
    image_tokens = phase.budget * multimodal(phase) * assumed.positions
    found, gradient = [], False
    for name, model in sorted(stage.modules.items(), key=lambda item: _UPSTREAM.index(item[1].family)):
        moves = name in stage.trained
        gradient = gradient or moves
        if isinstance(model, LanguageModel):
            work = cost.language_model(model, equal_length(phase, assumed.lengths), loops(model, phase)) * phase.budget
        elif model.family == "moonvit":
            tokens = image_tokens * _merged(stage)
            work = cost.vision_tower(model, _patches(model, assumed)) * float(tokens)
        elif model.family == "projector":
            work = cost.projector(model) * float(image_tokens)
        else:
            raise UserError(
                f"{stage.ref}: objective {phase.objective} has no use for module {name!r}, a "
                f"{model.family}; take it out of `modules`, or choose the objective that needs it."
            )
        found.append(Module(model, work, moves, gradient))
    if phase.preference is not None:  # the reference reads the same rows, forward alone
        found += [replace(one, moves=False, gradient=False) for one in found]
    return found


def loops(model: Model, phase: Phase) -> int:
    """How often a module's layers are run."""
    return phase.loops.count if model.family in LOOPED and phase.loops is not None else 1


def equal_length(phase: Phase, lengths: Mapping[str, float]) -> float:
    """The length of unmasked rows whose attention costs as much as this phase's.

    Without a mask between documents, or with a corpus of unknown documents, it is the context. Else documents are
    taken to be of exponential length: a token then has one mean length of its document before it, twice what
    documents of equal length give, and never more than half a row.
    """
    known = [(source.weight, lengths.get(source.corpus)) for source in phase.sources]
    if not phase.document_mask or not known:
        return phase.context
    total = 0.0
    for weight, length in known:
        total += weight * (phase.context if length is None else min(phase.context, 2 * length))
    return total / sum(weight for weight, _ in known)


def question(stage: Stage, assumed: Assumed) -> float:
    """Tokens of a document that shows one image and says as much about it as multimodal rows are taken to."""
    if stage.tower is None:
        return 0.0
    return _patches(stage.tower, assumed) / _merged(stage) / float(assumed.positions)


def multimodal(phase: Phase) -> Fraction:
    """The mean share of multimodal samples over the phase."""
    if phase.share is None:
        return Fraction(any(source.group == "multimodal" for source in phase.sources))
    return phase.share.mean(ledger.samples(phase))


_UPSTREAM = ("moonvit", "projector", *LANGUAGE_MODELS, "text_tower", "contrastive", "caption_decoder")


def _patches(model: MoonViTModel, assumed: Assumed) -> int:
    return max(1, round(model.table * assumed.side)) ** 2


def _merged(stage: Stage) -> int:
    """Patches that make one image token; without a projector, one."""
    return next((model.merge for model in stage.modules.values() if isinstance(model, ProjectorModel)), 1) ** 2


def _coca(stage: Stage, phase: Phase) -> float:
    """Stretch by stretch of the resolution ladder, with images at the cap; the ledger's unit is the patch."""
    tower = stage.tower
    if phase.coca is None or tower is None:
        raise UserError(f"{stage.ref}: objective coca needs a vision tower and `coca` settings.")
    ladder = phase.coca.resolutions
    ends = [rung.after for rung in ladder[1:]] + [phase.budget]
    total = 0.0
    for rung, end in zip(ladder, ends, strict=True):
        patches = cost_coca.patches_of(tower, rung.cap)
        batch = phase.batch[-1].sequences * phase.context // patches
        total += (end - rung.after) / patches * cost_coca.pair(stage, patches, batch)
    return total
