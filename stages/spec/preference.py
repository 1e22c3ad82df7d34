"""What preference training needs of a stage beyond its modules and corpora: a parent, whole pairs, one objective.

The reference is the model that the stage is given by its parent, frozen, whatever is resumed later
(`stages/engines/torch_trainer.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stages.errors import SpecError
from stages.spec.nodes import Document, Path
from stages.spec.resolved_models import Model
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.stages import RawStandIn, RawTrain

HANDED = ("inherit", "average")  # weights that are a parent's as they are
OBJECTIVE = "preference"


def unfit(
    document: Document, path: Path, raw: RawTrain | RawStandIn, modules: Mapping[str, Model]
) -> Iterator[SpecError]:
    """What a stage with phases of this objective says and cannot mean; `path` is that of its phases."""
    phases = [(index, phase) for index, phase in enumerate(raw.phases) if phase.objective == OBJECTIVE]
    if not phases:
        return
    yield from _parent(document, raw, modules)
    if len(phases) < len(raw.phases):
        other = next(phase.objective for phase in raw.phases if phase.objective != OBJECTIVE)
        yield document.error(
            (*path, phases[0][0], "objective"), f"{OBJECTIVE}, in a stage with a phase of {other}",
            f"a stage with phases of {OBJECTIVE} alone",
            "Make it a stage of its own: its reference is what the stage is given, and no phase before it is in that.",
        )  # fmt: skip
    if others := [name for name, model in modules.items() if model.family in ("moonvit", "projector")]:
        yield document.error(
            (*path, phases[0][0], "objective"), f"{OBJECTIVE} with {', '.join(others)}", "a language model alone",
            "Pairs of answers about images are not read: leave these modules out.",
        )  # fmt: skip
    for index, phase in phases:
        yield from _rows(document, (*path, index), phase)


def _parent(document: Document, raw: RawTrain | RawStandIn, modules: Iterable[str]) -> Iterator[SpecError]:
    if isinstance(raw, RawStandIn):
        yield document.error(
            ("stand_in", "phases"), f"objective {OBJECTIVE}", "objectives that train from nothing",
            "A stand-in has no parent, which would be the reference.",
        )  # fmt: skip
        return
    for name in modules:
        how = raw.init.weights.get(name, raw.init.weights.get("*", ""))
        if how and how not in HANDED:
            yield document.error(
                ("init", "weights"), f"{how.partition(':')[0]} for {name}",
                f"{' or '.join(HANDED)} from a parent: it is the reference of objective {OBJECTIVE}",
                "Train, extend or bring in the model by a stage of its own, and start this one from that.",
            )  # fmt: skip


def _rows(document: Document, path: Path, phase: RawPhase) -> Iterator[SpecError]:
    """Both answers of a pair are in one row, and must not see each other."""
    if phase.packing != "whole":
        yield document.error(
            (*path, "packing"), phase.packing, f"whole, for objective {OBJECTIVE}", "A pair that is cut is no pair."
        )
    if not phase.document_mask:
        yield document.error(
            (*path, "document_mask"), "false", f"true, for objective {OBJECTIVE}",
            "Both answers of a pair stand in one row, and must not see each other.",
        )  # fmt: skip
    if phase.z_loss is not None:
        yield document.error(
            (*path, "z_loss"), "an entry", f"none with objective {OBJECTIVE}", "Remove it: nothing reads it here."
        )
