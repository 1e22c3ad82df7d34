"""The evaluations that a stage may name under `evaluate:`, and what each needs of its modules and of its corpora."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.errors import SpecError
from stages.spec.loader import LoadedStage
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Path
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED, Model
from stages.spec.resolved_phases import Phase
from stages.spec.schema.corpora import Kind
from stages.spec.schema.stages import RawImport, RawKeep, RawTrain
from stages.spec.validate import near

TOKEN_KINDS: tuple[Kind, ...] = ("text", "multimodal", "sft")


@dataclass(frozen=True)
class Evaluation:
    """A section of eval.json; one family of each group among the modules, and a corpus of one of these kinds."""

    section: str
    families: tuple[tuple[str, ...], ...]
    kinds: tuple[Kind, ...]
    builders: tuple[str, ...] = ()  # of local corpora; published ones may contain anything of their kind

    def lacks(self, families: Collection[str], corpora: Collection[str], data: LoadedData) -> list[str]:
        """What a stage does not have of what is needed, in words."""
        groups = [group for group in self.families if not set(group) & set(families)]
        lacking = [f"a module of family {' or '.join(group)}" for group in groups]
        fitting = [name for name in corpora if data.kinds[name] in self.kinds]
        if not fitting:
            return [*lacking, f"a corpus of kind {' or '.join(self.kinds)}"]
        built = [data.corpora[name].builder if name in data.corpora else None for name in fitting]
        if self.builders and not set(built) & {None, *self.builders}:
            lacking.append(f"a corpus of builder {' or '.join(self.builders)}")
        return lacking


EVALUATIONS: Mapping[str, Evaluation] = {
    "validation_loss": Evaluation("validation", (), (*TOKEN_KINDS, "pairs")),
    "position_loss": Evaluation("positions", (LANGUAGE_MODELS,), ("text", "sft")),
    "needle": Evaluation("needle", (LANGUAGE_MODELS,), ("text", "sft")),
    "loops": Evaluation("loops", (LOOPED,), TOKEN_KINDS),
    "zero_shot": Evaluation("digits", (("moonvit",), ("text_tower",), ("contrastive",)), ("pairs",), ("pairs",)),
    "retrieval": Evaluation("retrieval", (("moonvit",), ("text_tower",), ("contrastive",)), ("pairs",)),
    "digit_questions": Evaluation(
        "questions", (("moonvit",), ("projector",), LANGUAGE_MODELS), ("multimodal",), ("digit_qa",)
    ),
    "answers": Evaluation("answers", (LANGUAGE_MODELS,), ("sft",)),
    "preferences": Evaluation("preferences", (LANGUAGE_MODELS,), ("preference",)),
}


def unable(
    loaded: LoadedStage, modules: Mapping[str, Model], read: Sequence[Phase], data: LoadedData
) -> Iterator[SpecError]:
    """Evaluations of a stage that there are not, or that lack a module or a corpus.

    `read` are the phases on whose corpora it is evaluated.
    """
    evaluate = loaded.raw.evaluate
    if isinstance(loaded.raw, RawKeep) and (evaluate.heldout or evaluate.lm_eval):
        allowed, repair = "none in a stage of kind keep, which is its parent", "Name them in the parent's `evaluate`."
        yield loaded.document.error(("evaluate",), ", ".join([*evaluate.heldout, *evaluate.lm_eval]), allowed, repair)
        return
    families = {model.family for model in modules.values()}
    yield from _outside(loaded, families)
    if isinstance(loaded.raw, RawImport) and evaluate.heldout and not read:
        repair = "Add `evaluate_on: {data: ..., context: ..., document_mask: ...}`, or take `evaluate` out."
        allowed = "`evaluate_on` where a release comes in: it has no data of its own"
        yield loaded.document.error(("evaluate",), ", ".join(evaluate.heldout), allowed, repair)
        return
    corpora = {source.corpus for phase in read for source in phase.sources}
    above: Path = ("evaluate", "heldout") if ("evaluate", "heldout") in loaded.document.places else ("evaluate",)
    for index, name in enumerate(evaluate.heldout):
        path: Path = (*above, index)
        if name not in EVALUATIONS:
            task = f"A task of lm-evaluation-harness is named so: `{{heldout: [...], lm_eval: [{name}]}}`."
            repair = near(name, EVALUATIONS) or task
            yield loaded.document.error(path, repr(name), ", ".join(EVALUATIONS), repair)
        elif lacking := EVALUATIONS[name].lacks(families, corpora, data):
            found = f"{name!r}, without {' and without '.join(lacking)}"
            able = [known for known, one in EVALUATIONS.items() if not one.lacks(families, corpora, data)]
            own = isinstance(loaded.raw, RawTrain)  # others are evaluated on what is above them
            repair = "Take it out, or add what it needs." if own else "Take it out, or name another."
            yield loaded.document.error(path, found, ", ".join(able) or "none here", repair)


def _outside(loaded: LoadedStage, families: Collection[str]) -> Iterator[SpecError]:
    """Requests of lm-evaluation-harness that cannot be. Which tasks it has is known where it is installed."""
    evaluate, error = loaded.raw.evaluate, loaded.document.error
    for key, value in (("limit", evaluate.limit), ("lm_eval_tasks", evaluate.lm_eval_tasks)):
        if value is not None and not evaluate.lm_eval:
            yield error(
                ("evaluate", key), str(value), "with `lm_eval` only", f"Remove `{key}`, or name `lm_eval: [...]`."
            )
    for index, name in enumerate(evaluate.lm_eval):
        if name in EVALUATIONS:
            repair = "Write it under `heldout`."
            yield error(("evaluate", "lm_eval", index), f"{name!r}, an evaluation of this project", "tasks", repair)
    others = set(families) - set(LANGUAGE_MODELS) - {"moonvit", "projector"}
    if evaluate.lm_eval and (others or not set(families) & set(LANGUAGE_MODELS)):
        found, allowed = (
            f"modules of family {', '.join(families)}",
            "a language model, alone or with a tower and a projector",
        )
        yield error(("evaluate", "lm_eval"), found, allowed, "Remove `lm_eval`: there is no export that it could read.")
