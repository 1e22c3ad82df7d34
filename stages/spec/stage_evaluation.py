"""What is evaluated of a stage, on which corpora and on rows of which length."""

from __future__ import annotations

from collections.abc import Mapping

from stages.spec.evaluated_on import KEY, evaluated_on
from stages.spec.evaluations import unable
from stages.spec.graph import parents
from stages.spec.hand_over import Node
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.phases import PhaseMaker
from stages.spec.resolved import Evaluation, LmEval, Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Phase
from stages.spec.schema.stages import RawEvaluate
from stages.spec.scope import Scope
from stages.spec.validate import several


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

    `done` are the stages above, by name. Raises SpecError(s) for what the stage cannot evaluate.
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
