"""What of a scale is seldom meant: rates below the published ones, embeddings or resolutions that there are not, models
of another shape, figures that are no sizes, evaluations on a few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction

from stages.errors import InvalidSpecs
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project
from stages.spec.schema.stages import RawTrain

LEAST_LR = Fraction(1, 2)
WIDTHS = ("ffn", "expert_ffn")
APART = 3  # times: miniatures of the shipped models have half to twice the ratio
COMPUTED = ("norm_eps", "routed_scale", "rope_base", "init_bias", "init_log_temperature")
FEWEST = 8  # rows, pairs or questions: the mean of fewer differs by as much as a stage of a miniature learns
MANY = 2  # times the tokenizer's tokens: published tables are longer by 5% at most


def lower_rates(project: Project, scale: str) -> Iterator[str]:
    """A notice for each entry of a scale that lowers the rates of narrower models, which are trained at higher ones."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(InvalidSpecs):  # which are findings
            entry = project.shrink(name, scale)
            if entry.shrink is not None and entry.shrink.lr < LEAST_LR:
                where = entry.document.where(("pipelines", entry.pipeline, "lr"))
                yield f"{where}: {name} is trained at {entry.shrink.lr} of its published rates."


def idle_resolution(project: Project, scale: str) -> Iterator[str]:
    """A notice for each entry with a factor for resolutions, of which its pipeline has none."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(InvalidSpecs):
            entry, stages = project.shrink(name, scale), project.resolve(name, scale).stages.values()
            read = any(phase.coca is not None for stage in stages for phase in stage.phases)
            if entry.shrink is not None and entry.shrink.resolution is not None and not read:
                where = entry.document.where(("pipelines", entry.pipeline, "resolution"))
                yield f"{where}: no phase of {name} has `resolutions`; other pictures are as their corpora have them."


def idle_rows(project: Project, scale: str) -> Iterator[str]:
    """A notice for each pipeline with a table of embeddings of which half or more are of no token."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(InvalidSpecs):
            for stage in project.resolve(name, scale).stages.values():
                tokens = project.data.tokens(stage.tokenizer)
                rows = max((one.vocab for one in stage.modules.values() if isinstance(one, LanguageModel)), default=0)
                if tokens is not None and rows >= MANY * tokens:
                    document = project.shrink(name, scale).document
                    at = document if ("vocab",) in document.places else project.loaded(name).document
                    where = at.where(("vocab",) if at is document else ("models",))
                    yield f"{where}: {name} has embeddings of {rows:,} tokens, and its tokenizer has {tokens:,}."
                    break


def other_shapes(project: Project, scale: str) -> Iterator[str]:
    """A notice for each feed-forward width that is another multiple of its hidden size than at full size, and for each
    figure that a scale changes and that is no size.
    """
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(InvalidSpecs):
            entry, models = project.shrink(name, scale), project.loaded(name).raw.models
            for model, here in entry.shrink.models.items() if entry.shrink is not None else ():
                full, where = models.get(model, {}), ("pipelines", entry.pipeline, "models", model)
                for key, said in (*_widths(full, {**full, **here}), *_computed(full, here)):
                    at = key if key in here else "hidden"
                    yield f"{entry.document.where((*where, at))}: {model} has {said} at {scale}."


def _widths(full: Mapping[str, object], here: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key in WIDTHS:
        sizes = [(one.get(key), one.get("hidden")) for one in (full, here)]
        ratios = [width / hidden for width, hidden in sizes if isinstance(width, int) and isinstance(hidden, int)]
        if len(ratios) == 2 and not 1 / APART <= ratios[1] / ratios[0] <= APART:
            yield key, f"{key} {here[key]:,} to hidden {here['hidden']:,}, {ratios[1]:.3g} in place of {ratios[0]:.3g},"


def _computed(full: Mapping[str, object], here: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key in COMPUTED:
        # What keeps the size of several experts' outputs follows from how many they are.
        follows = key == "routed_scale" and {"experts", "active_experts"} & here.keys()
        if key in here and here[key] != full.get(key) and not follows:
            yield key, f"{key} {here[key]:g} in place of {full.get(key):g}, which is no size,"


def few_samples(project: Project, scale: str) -> Iterator[str]:
    """A notice for a scale whose evaluations read a few rows: gates pass and fail by chance."""
    with suppress(InvalidSpecs):
        samples = project.scale(scale).evaluation.samples
        if samples < FEWEST:
            rows = f"{samples} row{'s' * (samples != 1)} of a corpus"
            yield f"{scale}: evaluations read {rows} (`evaluation.samples`); gates pass and fail by chance."


def floors_alone(project: Project, scale: str) -> Iterator[str]:
    """A notice for each entry at which the floor is the budget of all phases, though full size has several."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(InvalidSpecs):
            entry, resolved = project.shrink(name, scale), project.resolve(name, scale)
            if entry.shrink is None:
                continue
            phases = [phase for own in resolved.own for phase in resolved.stages[own].phases]
            steps = {
                Fraction(phase.budget, max(one.sequences for one in phase.batch) * phase.context) for phase in phases
            }
            raws = [
                stage.raw.phases for stage in project.loaded(name).stages.values() if isinstance(stage.raw, RawTrain)
            ]
            if steps == {entry.shrink.tokens.floor} and len({phase.budget for raw in raws for phase in raw}) > 1:
                where = entry.document.where(("pipelines", entry.pipeline, "tokens"))
                said = f"`floor`, {entry.shrink.tokens.floor} steps, is the budget of all its phases"
                yield f"{where}: {name} at {scale}: {said}; `anchor` and `exponent` have no effect."
