"""What a stage trains and its evaluations do not see, while those of another stage of the pipeline do: a word was lost
from a list, or a copied list not added to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.errors import InvalidSpecs, Where
from stages.spec.evaluations import EVALUATIONS
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.schema.stages import RawTrain

# By what a stage does: the evaluations of which one sees it. A validation loss is a mean over all of its tokens.
LONGER = "reads longer rows than any stage above it"
SEES = {
    LONGER: ("position_loss", "needle"),
    "learns answers": ("answers",),
    "learns from pictures": ("digit_questions",),
    "trains in loops": ("loops",),
    "learns from pairs": ("zero_shot", "retrieval"),
}


def unmeasured(project: Project, scale: str) -> Iterator[str]:
    """A notice for each of them; a stage that has no evaluation at all is another one, and tasks may see anything."""
    for context in contexts(project, scale):
        measured = {name: set(one.raw.evaluate.heldout) for name, one in context.loaded.stages.items()}
        seen: set[Where] = set()  # the values of a sweep have one line
        for name, stage in context.own:
            raw, where = context.loaded.stages[name].raw, context.where(name, "evaluate")
            if not isinstance(raw, RawTrain) or not raw.evaluate.heldout or raw.evaluate.lm_eval or where in seen:
                continue
            able = _able(context, name, stage) if context.writes(where) else set()
            for does, names in SEES.items():
                others = [one for one, its in measured.items() if its & {*names}]
                lost = able & {*names} if others and name not in others and _does(context, stage, does) else set()
                if lost and _everywhere(project, context.pipeline.name, name, lost):
                    seen.add(where)
                    neither = f"neither {' nor '.join(names)} is" if len(names) > 1 else f"{names[0]} is not"
                    yield f"{where}: {name} {does}, and {neither} among its evaluations, as it is in {others[0]}."


def _everywhere(project: Project, pipeline: str, name: str, wanted: set[str]) -> bool:
    """Whether the stage can have one of these evaluations at each scale: what stands in for a corpus may not do."""
    for scale in project.scales_of(pipeline):
        with suppress(InvalidSpecs):  # which are findings
            stage = project.resolve(pipeline, scale).stages[name]
            read = {source.corpus for phase in stage.phases for source in phase.sources}
            families = {model.family for model in stage.modules.values()}
            if all(EVALUATIONS[one].lacks(families, read, project.data) for one in wanted):
                return False
    return True


def _does(context: Context, stage: Stage, does: str) -> bool:
    if does == LONGER:
        above = [one.max_context for _, one in context.parents(stage)]
        return bool(above) and stage.longest > max(above)
    if does == "learns answers":
        return any(phase.objective == "sft" for phase in stage.phases)
    return True  # what its evaluation needs is what it does


def _able(context: Context, name: str, stage: Stage) -> set[str]:
    """The evaluations that the stage has modules and corpora for."""
    corpora = {source.corpus for number in range(len(stage.phases)) for source in context.mixture(name, number)}
    families = {model.family for model in stage.modules.values()}
    return {known for known, one in EVALUATIONS.items() if not one.lacks(families, corpora, context.data)}
