"""What each objective needs: of the stage's modules, of the corpora, and of the phase's own keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from stages.errors import SpecError
from stages.spec.language_model import LanguageModel
from stages.spec.model_keys import required_keys
from stages.spec.nodes import Document, Path
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED, ROUTED, Model
from stages.spec.resolved_phases import ObjectiveName
from stages.spec.scheduled import Named
from stages.spec.schema.corpora import Kind
from stages.spec.schema.phases import RawCoca, RawLoops, RawPhase, RawPreference, RawRouter
from stages.spec.validate import added

IMAGES = ("moonvit", "projector")  # what brings images to a language model
PLAIN = tuple(family for family in LANGUAGE_MODELS if family not in LOOPED)


@dataclass(frozen=True)
class Needs:
    """One of each group of families, corpora of these kinds and of at least one of `some`."""

    families: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...]
    some: tuple[Kind, ...] = ()
    unit: Literal["tokens", "patches"] = "tokens"

    def missing(self, families: Collection[str]) -> list[str]:
        """What the modules lack, in words."""
        return [" or ".join(group) for group in self.families if not set(group) & set(families)]


_PICTURED = (("moonvit",), ("projector",), LANGUAGE_MODELS)
NEEDS: Mapping[ObjectiveName, Needs] = {
    "next_token": Needs((PLAIN,), ("text", "sft")),
    "looped": Needs((LOOPED,), ("text", "sft")),
    "sft": Needs((LANGUAGE_MODELS,), ("text", "sft", "multimodal")),
    "preference": Needs((PLAIN,), ("preference",)),
    "align": Needs(_PICTURED, ("text", "sft", "multimodal"), ("multimodal",)),
    "joint": Needs(_PICTURED, ("text", "sft", "multimodal"), ("multimodal",)),
    "coca": Needs(
        (("moonvit",), ("text_tower",), ("caption_decoder",), ("contrastive",)), ("pairs",), ("pairs",), "patches"
    ),
}


@dataclass(frozen=True)
class Placed:
    """The phases of a stage: the file, the path of their list, the stage's modules, and which of them move."""

    document: Document
    path: Path
    modules: Mapping[str, Model]
    trained: Collection[str]

    @property
    def families(self) -> list[str]:
        """Families of the stage's modules."""
        return [model.family for model in self.modules.values()]

    def error(self, index: int, key: str, found: str, allowed: str, repair: str) -> SpecError:
        """An error about a key of a phase."""
        return self.document.error((*self.path, index, key), found, allowed, repair)


def unfit(placed: Placed, phases: list[RawPhase], kinds: Sequence[Mapping[str, Kind]]) -> Iterator[SpecError]:
    """Where a phase and its stage do not fit together; `kinds` are the kinds of each phase's corpora, by name."""
    wrong: list[SpecError] = []
    for index, (phase, corpora) in enumerate(zip(phases, kinds, strict=True)):
        mine = list(_objective(placed, index, phase, corpora))
        wrong += [*(mine or _corpora(placed, index, phase, corpora)), *_blocks(placed, index, phase)]
    yield from wrong or _unmoved(placed, phases, kinds)


def _objective(placed: Placed, index: int, phase: RawPhase, corpora: Mapping[str, Kind]) -> Iterator[SpecError]:
    needs = NEEDS[phase.objective]
    has = ", ".join(f"{name} ({model.family})" for name, model in placed.modules.items())
    if missing := needs.missing(placed.families):
        yield placed.error(
            index, "objective", f"{phase.objective} with the modules {has}", f"modules of {', '.join(missing)} too",
            f"Choose the objective that fits these modules{_fitting(placed, corpora)}, or add the module.",
        )  # fmt: skip
        return
    if (
        phase.objective in ("next_token", "looped")
        and "multimodal" in corpora.values()
        and "moonvit" in placed.families
    ):
        yield placed.error(
            index, "objective", f"{phase.objective} on {phase.data}, which has images", "align, joint or sft",
            "Choose the objective that reads images.",
        )  # fmt: skip
    languages = [name for name, model in placed.modules.items() if model.family in LANGUAGE_MODELS]
    moves = any(name in placed.trained for name in languages)
    if phase.objective in ("align", "joint") and moves != (phase.objective == "joint"):
        yield placed.error(
            index, "objective", f"{phase.objective} with the language model {'trained' if moves else 'frozen'}",
            "align where the language model is frozen, joint where it is trained", "Correct one of the two.",
        )  # fmt: skip
    if phase.unit != needs.unit:
        yield placed.error(
            index, "unit", phase.unit, needs.unit, f"Objective {phase.objective} counts in {needs.unit}."
        )


def _fitting(placed: Placed, corpora: Mapping[str, Kind]) -> str:
    """Objectives whose needs are met, in brackets."""
    present = set(corpora.values())
    fitting = [
        name
        for name, needs in NEEDS.items()
        if not needs.missing(placed.families) and present <= set(needs.kinds) and (present & set(needs.some or present))
    ]
    return f" ({', '.join(fitting)})" if fitting else ""


def _corpora(placed: Placed, index: int, phase: RawPhase, corpora: Mapping[str, Kind]) -> Iterator[SpecError]:
    needs = NEEDS[phase.objective]
    pictured = set(IMAGES) <= set(placed.families)
    readable = [kind for kind in needs.kinds if kind != "multimodal" or pictured]
    for name, kind in corpora.items():
        if kind not in readable:
            lacking = "projector" if "moonvit" in placed.families else "vision tower"
            why = "" if pictured or kind != "multimodal" else f" without a {lacking}"
            yield placed.error(
                index, "data", f"{phase.data!r}, of which {name!r} is of kind {kind}",
                f"corpora of kind {', '.join(readable)} for {phase.objective}{why}", "Choose another mixture.",
            )  # fmt: skip
            return
    if needs.some and not set(corpora.values()) & set(needs.some):
        yield placed.error(
            index, "data", f"{phase.data!r}, which has no corpus of kind {' or '.join(needs.some)}",
            f"one at least for objective {phase.objective}", "Choose another mixture, or another objective.",
        )  # fmt: skip


def _blocks(placed: Placed, index: int, phase: RawPhase) -> Iterator[SpecError]:
    """Keys that belong to one objective or model are there exactly where it is."""
    looped = any(family in LOOPED for family in placed.families)
    routed = any(placed.modules[name].family in ROUTED for name in placed.trained)
    for key, kind, wanted, where in (
        ("loops", RawLoops, looped, f"a looped model ({', '.join(LOOPED)})"),
        ("router", RawRouter, routed, f"a trained module with routed experts ({', '.join(ROUTED)})"),
        ("preference", RawPreference, phase.objective == "preference", "objective preference"),
        ("coca", RawCoca, phase.objective == "coca", "objective coca"),
    ):
        given = getattr(phase, key) is not None
        if given and not wanted:
            yield placed.error(
                index, key, "an entry", f"none without {where}", f"Remove `{key}`: nothing reads it here."
            )
        if wanted and not given:
            repair = added(key, required_keys(kind))
            yield placed.error(index, key, "nothing", f"{key} is required for {where}", repair)
    if phase.z_loss is not None and phase.objective == "coca":
        yield placed.error(index, "z_loss", "an entry", "none with objective coca", "Remove it: nothing reads it here.")
    for name in placed.trained if phase.router is not None and phase.router.bias_update else ():
        model = placed.modules[name]
        mixture = model.parts.mixture if isinstance(model, LanguageModel) else None
        if mixture is not None and mixture.scoring == "softmax":
            path = (*placed.path, index, "router", "bias_update")
            found = f"{_written(phase.router.bias_update)} for {name} ({model.family})" if phase.router else ""
            repair = "Its router has no bias: balance it by `aux_loss`."
            yield placed.document.error(path, found, "0", repair)
    if phase.loops is not None and phase.loops.count == 1 and phase.loops.beta:
        path = (*placed.path, index, "loops")
        found = f"count: 1 with beta: {_written(phase.loops.beta)}"
        yield placed.document.error(
            path, found, "2 loops or more, or beta: 0", "The exits of a single loop have no entropy to be weighed."
        )
    resolutions = phase.coca.resolutions if phase.coca is not None else []
    starts = [one.after for one in resolutions]
    if starts and (starts[0] != 0 or sorted(set(starts)) != starts):
        found = ", ".join(f"{float(100 * start):g}%" for start in starts)
        path = (*placed.path, index, "coca", "resolutions")
        yield placed.document.error(path, f"caps from {found} on", "rising `after`, the first 0%", "Sort them.")


def _written(number: Fraction | Named) -> str:
    return f"schedule {number.schedule}" if isinstance(number, Named) else f"{float(number):g}"


def _unmoved(placed: Placed, phases: list[RawPhase], kinds: Sequence[Mapping[str, Kind]]) -> Iterator[SpecError]:
    """A trained module that no phase's loss reaches would stay as it is."""
    reached: set[str] = set()
    for phase, corpora in zip(phases, kinds, strict=True):
        needs = NEEDS[phase.objective]
        reached |= {family for group in needs.families for family in group}
        if "multimodal" in corpora.values():
            reached |= set(IMAGES)
    for name in placed.trained:
        if placed.modules[name].family not in reached:
            key: Path = ("train",) if placed.path == ("phases",) else placed.path
            yield placed.document.error(
                key, f"{name!r}, which no phase's objective and data reach", "modules that a loss moves",
                "Freeze it, or choose the objective and the mixture that train it.",
            )  # fmt: skip
