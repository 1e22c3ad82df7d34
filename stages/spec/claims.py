"""Published figures of a pipeline: totals of tokens over stages, and sizes of models."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from stages.errors import Where
from stages.spec import models
from stages.spec.graph import parents, reached, unknown_stage
from stages.spec.loader import LoadedPipeline
from stages.spec.points import RawPoint
from stages.spec.resolved_models import Model
from stages.spec.validate import unknown_name


@dataclass(frozen=True)
class Claim:
    """A published total: the stages' budgets sum to `tokens` to within `rounding` (half a unit of the last place)."""

    what: str
    tokens: int
    rounding: int
    stages: tuple[str, ...]
    where: Where


@dataclass(frozen=True)
class Size:
    """A published count: `model` has `parameters` at full size, to within `rounding`, half a unit of the last place."""

    name: str
    model: Model
    parameters: int
    rounding: int
    where: Where


def claims(loaded: LoadedPipeline, nodes: Collection[str]) -> tuple[Claim, ...]:
    """The published totals of tokens, over the stages `nodes`.

    Raises SpecError for a stage that is not there, and for a total that is written twice.
    """
    found: list[Claim] = []
    for index, claim in enumerate(loaded.raw.claims):
        where = loaded.document.where(("claims", index))
        one = Claim(claim.what, *claim.tokens, _counted(loaded, nodes, index), where)
        twin = next((other for other in found if _twice(one, other)), None)
        if twin is not None:
            again = f"{one.what!r} a second time, after line {twin.where.line}"
            raise loaded.document.error(("claims", index), again, "each total once", "Remove one, or correct it.")
        found.append(one)
    return tuple(found)


def _twice(one: Claim, other: Claim) -> bool:
    """Whether two claims are called the same, or say the same of the same stages."""
    return one.what == other.what or (one.tokens, set(one.stages)) == (other.tokens, set(other.stages))


def sizes(loaded: LoadedPipeline) -> tuple[Size, ...]:
    """The published sizes of models. Raises SpecError for a model that is not there."""
    found = []
    for name, (count, rounding) in loaded.raw.parameters.items():
        if name not in loaded.raw.models:
            raise unknown_name(loaded.document, ("parameters", name), "model", name, loaded.raw.models)
        where = loaded.document.where(("models", name))
        found.append(Size(name, models.full(loaded, name), count, rounding, where))
    return tuple(found)


def _counted(loaded: LoadedPipeline, nodes: Collection[str], index: int) -> tuple[str, ...]:
    """The stages that a claim sums: those it lists, or a stage and all its ancestors."""
    claim = loaded.raw.claims[index]
    named = claim.stages if claim.stages is not None else [claim.lineage] if claim.lineage is not None else []
    here = ("claims", index)
    if (claim.stages is None) == (claim.lineage is None):
        raise loaded.document.error(
            here, "both or neither of `stages` and `lineage`", "exactly one of them", "Say what it sums."
        )
    for stage in named:
        if stage not in nodes:
            raise unknown_stage(loaded, loaded.document, here, stage)
    if claim.lineage is None:
        return tuple(claim.stages or ())
    lineage = reached([claim.lineage], lambda stage: parents(loaded.stages[stage]))
    return tuple(stage for stage in nodes if stage in lineage and not _counted_already(loaded, stage, lineage))


def _counted_already(loaded: LoadedPipeline, stage: str, others: Collection[str]) -> bool:
    """Whether a stage is the beginning of another one: of its trunk, or of that one up to a later point."""
    raw = loaded.stages[stage].raw
    if not isinstance(raw, RawPoint):
        return False
    known = (loaded.stages[other].raw for other in others)
    later = any(isinstance(one, RawPoint) and one.trunk == raw.trunk and one.at > raw.at for one in known)
    return later or raw.trunk in others
