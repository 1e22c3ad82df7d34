"""What is evaluated of a stage, on which corpora and on rows of which length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stages.errors import SpecError
from stages.spec.evaluations import unable
from stages.spec.graph import parents
from stages.spec.hand_over import Node
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.phases import PhaseMaker
from stages.spec.ranges import Part
from stages.spec.resolved import Evaluation, LmEval, Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED, Model
from stages.spec.resolved_phases import Loops, Phase, Source
from stages.spec.scales import Scale
from stages.spec.schema.stages import RawEvaluate, RawEvaluatedOn, RawImport
from stages.spec.scope import Scope
from stages.spec.validate import several

KEY = "evaluate_on"


def evaluation(
    scope: Scope,
    loaded: LoadedStage,
    modules: Mapping[str, Model],
    phases: tuple[Phase, ...],
    done: Mapping[str, Node],
    longest: int,
    tokenizer: str,
) -> Evaluation:
    """What is evaluated, on windows of which length: the longest context that is trained, else `longest`.

    `done` are the stages above, by name. Raises InvalidSpecs for what the stage cannot evaluate.
    """
    maker = PhaseMaker(scope, loaded, (KEY,), modules, tokenizer)
    named = evaluated_on(loaded, modules, maker, scope.scale)  # at every scale: a mistake is one everywhere
    on = None if phases else named
    own = phases or (() if on is None else (on,))
    source = None if own else _source(scope.pipeline, loaded, done)
    wrong = list(unable(loaded, modules, own or (() if source is None else source.evaluated_on), scope.data))
    if wrong:
        raise several(wrong)
    sizes = scope.raw_scale.evaluation
    context = max((phase.context for phase in own), default=longest)
    context = min(context, sizes.context or context)
    above = [done[parent].stage for parent in parents(loaded)]
    old = max((stage.max_context for stage in above if stage.rope is not None), default=None)
    return Evaluation(
        names=tuple(loaded.raw.evaluate.heldout),
        context=context,
        old_context=old if old is not None and old < context else None,
        samples=sizes.samples,
        on=on,
        on_above=None if source is None else source.evaluation.on,
        lm_eval=_lm_eval(loaded.raw.evaluate),
    )


def _source(pipeline: LoadedPipeline, loaded: LoadedStage, done: Mapping[str, Node]) -> Stage | None:
    """The stage on whose corpora one without training is evaluated: the first ancestor that has some.

    Of a merge, which has several parents, that is looked for above the first of them.
    """
    names = parents(loaded)
    while names and not done[names[0]].stage.evaluated_on:
        names = parents(pipeline.stages[names[0]])
    return done[names[0]].stage if names else None


def _lm_eval(raw: RawEvaluate) -> LmEval | None:
    if not raw.lm_eval:
        return None
    return LmEval(tasks=tuple(raw.lm_eval), limit=raw.limit, folder=raw.lm_eval_tasks)


def evaluated_on(loaded: LoadedStage, modules: Mapping[str, Model], maker: PhaseMaker, scale: Scale) -> Phase | None:
    """The phase of an import that says `evaluate_on`, at a scale; None for other stages.

    Its budget is 0: evaluations read documents that are held out, none of those that are trained on. Raises
    InvalidSpecs for what the model cannot be evaluated on.
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
