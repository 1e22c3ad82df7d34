"""What an import is evaluated on (`evaluate_on`), as a phase that reads nothing of its corpora for training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.errors import SpecError
from stages.spec.loader import LoadedStage
from stages.spec.phases import PhaseMaker
from stages.spec.ranges import Part
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED, Model
from stages.spec.resolved_phases import Loops, Phase, Source
from stages.spec.scales import Scale
from stages.spec.schema.stages import RawEvaluatedOn, RawImport
from stages.spec.validate import several

KEY = "evaluate_on"


def evaluated_on(loaded: LoadedStage, modules: Mapping[str, Model], maker: PhaseMaker, scale: Scale) -> Phase | None:
    """The phase of an import that says `evaluate_on`, at a scale; None for other stages.

    Its budget is 0: evaluations read documents that are held out, none of those that are trained on. Raises
    SpecError(s) for what the model cannot be evaluated on.
    """
    raw = loaded.raw
    if not isinstance(raw, RawImport) or raw.evaluate_on is None:
        return None
    on = raw.evaluate_on
    parts = maker.parts(on, (KEY,))
    if wrong := list(_unfit(loaded, raw, on, modules, parts)):
        raise several(wrong)
    sources = tuple(
        Source(corpus=one.corpus, group=one.group, weight=1, start=0, end=0, digest=one.digest, kind=one.kind)
        for one in parts
    )
    return Phase(
        name=KEY, objective="next_token" if on.loops is None else "looped", unit="tokens", budget=0, clock_start=0,
        context=scale.context(on.context), batch=(), micro_batch=1, epochs=1, document_mask=on.document_mask,
        packing="concatenate", sources=sources, share=None,
        loops=None if on.loops is None else Loops(count=on.loops, beta=0.0), router=None, coca=None,
    )  # fmt: skip


def _unfit(
    loaded: LoadedStage, raw: RawImport, on: RawEvaluatedOn, modules: Mapping[str, Model], parts: list[Part]
) -> Iterator[SpecError]:
    error = loaded.document.error
    families = {model.family for model in modules.values()}
    if not raw.evaluate.heldout:
        yield error(
            (KEY,), "an entry, and no evaluation on held-out documents", "both or neither", "Add `evaluate: [...]`."
        )
    if not families & set(LANGUAGE_MODELS):
        allowed = "an import with a language model"
        yield error((KEY,), f"the modules {', '.join(modules)}", allowed, f"Remove `{KEY}`: nothing reads it here.")
    if on.context > raw.max_context:
        allowed = f"at most `max_context`, {raw.max_context}"
        yield error((KEY, "context"), str(on.context), allowed, "The model does not know longer rows.")
    looped = bool(families & set(LOOPED))
    if looped != (on.loops is not None):
        found, allowed = ("nothing", "a number of loops") if looped else ("an entry", "none")
        where = f"{allowed} {'with' if looped else 'without'} a looped model ({', '.join(LOOPED)})"
        yield error((KEY, "loops"), found, where, "Add `loops: ...`." if looped else "Remove `loops`.")
    kinds = ("text", "sft", *(("multimodal",) if "moonvit" in families else ()))
    for part in parts:
        if part.kind not in kinds:
            found = f"{on.data!r}, of which {part.corpus!r} is of kind {part.kind}"
            yield error((KEY, "data"), found, f"corpora of kind {', '.join(kinds)}", "Choose another mixture.")
            return
