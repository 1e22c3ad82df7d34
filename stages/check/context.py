"""What a check is given: one pipeline at one scale, the same at full size, and the raw specs behind both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from stages.check import facts
from stages.check.facts import Fact
from stages.check.findings import Finding
from stages.contract.hardware import Hardware
from stages.contract.numbers import Reading, readings
from stages.contract.schedule import covers, peak
from stages.errors import Where
from stages.spec import models
from stages.spec.execution import entries
from stages.spec.loader import LoadedPipeline
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Document, Path
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.spec.resolved_training import Schedule
from stages.spec.scales import Scale
from stages.spec.schema.data import RawMixtureSource
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.stages import RawImport, RawTrain, RawUpcycle


@dataclass(frozen=True)
class Context:
    """One pipeline at one scale.

    `full` is the same pipeline at full size (None where this is it, or there is none); `extended` is what a reading
    extends; `others` are the other pipelines of the project that can be read, as they are written, and `all_read` is
    whether these are all; `shrink` is how the scale's figures follow from the specs'; `hardware` is the machine that
    the scale is priced on (None where there is no profile of it).
    """

    pipeline: ResolvedPipeline
    full: ResolvedPipeline | None
    extended: ResolvedPipeline | None
    loaded: LoadedPipeline
    others: tuple[LoadedPipeline, ...]
    all_read: bool
    data: LoadedData
    hardware: Hardware | None
    shrink: Scale

    @property
    def by_ref(self) -> dict[str, Stage]:
        """Stages by "pipeline/stage"; a variant's parents may live in the pipeline that it extends."""
        return self.pipeline.by_ref

    @cached_property
    def own(self) -> tuple[tuple[str, Stage], ...]:
        """Stages that have their rule in this pipeline: others are checked where they live, points as their trunk."""
        named = ((name, self.pipeline.stages[name]) for name in self.pipeline.own)
        return tuple((name, stage) for name, stage in named if stage.trunk is None)

    @cached_property
    def curves(self) -> tuple[tuple[str, Stage, Reading, Schedule], ...]:
        """Every number of the own stages that a schedule gives, once for each phase that reads it."""
        return tuple(
            (name, stage, reading, reading.number)
            for name, stage in self.own
            for reading in readings(stage)
            if isinstance(reading.number, Schedule)
        )

    def phases(self) -> Iterator[tuple[str, Stage, int, Phase]]:
        """Every phase of the own stages: (stage's name, stage, number, phase)."""
        for name, stage in self.own:
            for number, phase in enumerate(stage.phases):
                yield name, stage, number, phase

    def raw_phase(self, name: str, number: int) -> RawPhase | None:
        """A phase as it is written; None for a number that the spec does not have."""
        raw = self.loaded.stages[name].raw
        if isinstance(raw, RawImport):
            written = raw.stand_in.phases if raw.stand_in is not None else []
        else:
            written = raw.phases if isinstance(raw, RawTrain) else []
        return written[number] if number < len(written) else None

    def mixture(self, name: str, number: int) -> list[RawMixtureSource]:
        """The corpora of a phase's mixture as they are written, published ones by their own names."""
        raw = self.raw_phase(name, number)
        return self.data.mixtures.mixtures[raw.data].sources if raw is not None else []

    def parents(self, stage: Stage) -> list[tuple[str, Stage]]:
        """(ref, stage) of the direct parents."""
        return [(ref, self.by_ref[ref]) for ref in stage.parents if ref in self.by_ref]

    def trained_parents(self, stage: Stage) -> list[tuple[str, Stage]]:
        """The nearest ancestors that have phases or none above them: keep and upcycle stages hand through."""
        found: dict[str, Stage] = {}
        for ref, parent in self.parents(stage):
            if parent.phases or not parent.parents:
                found[ref] = parent
            else:
                found.update(self.trained_parents(parent))
        return list(found.items())

    def trained_above(self, ref: str) -> tuple[str, Stage]:
        """The stage itself if it has phases, else the nearest ancestor with phases, up to one with several parents."""
        stage = self.by_ref[ref]
        if stage.phases or len(stage.parents) != 1 or stage.parents[0] not in self.by_ref:
            return ref, stage
        return self.trained_above(stage.parents[0])

    def taught_by(self, stage: Stage, module: str) -> tuple[str, Stage] | None:
        """The nearest ancestor with phases along a module's own edges, if it trained the module: (ref, stage)."""
        at = stage.init[module].parent if module in stage.init else None
        while at is not None and at in self.by_ref:
            above = self.by_ref[at]
            if above.phases:
                return (at, above) if module in above.trained else None
            at = above.init[module].parent if module in above.init else None
        return None

    def finding(
        self,
        id: str,
        name: str,
        path: tuple[str | int, ...],
        *,
        observed: str,
        expected: str,
        repair: str,
        parent: str | None = None,
        at: Sequence[str] = (),
        found: Fact | None = None,
        where: Where | None = None,
    ) -> Finding:
        """A finding about a stage; `path` is the key of its spec that is at fault, `where` a line elsewhere that is.

        A waiver names `at` (modules, or what else the path is too coarse for; else the path by names) and `found`. What
        a scale derives by a factor is given in full-size figures (`full_rate`, `full_context`); without `found`, a
        waiver has to repeat what was observed.
        """
        ref = self.pipeline.refs[name]
        edge = f"{parent.rpartition('/')[2]}{facts.ARROW}" if parent else ""
        places = at or (self._named(name, path),)
        return Finding(
            id, self.pipeline.scale, ref, f"{parent} -> {ref}" if parent else None, observed, expected, repair,
            where or self.where(name, *path), at=tuple(edge + place for place in places),
            found=facts.write(observed if found is None else found),
        )  # fmt: skip

    def of_pipeline(
        self, id: str, at: str, *, observed: str, expected: str, repair: str, where: Where, found: Fact | None = None
    ) -> Finding:
        """A finding about the whole pipeline: pipeline.yaml waives it, at a place that is named as the keys there."""
        return Finding(
            id, self.pipeline.scale, self.pipeline.name, None, observed, expected, repair, where, at=(at,),
            found=facts.write(observed if found is None else found),
        )  # fmt: skip

    def _named(self, name: str, path: tuple[str | int, ...]) -> str:
        """A path with phases by their names: phases.main.context; "stage" where it is all of the spec."""
        phases = self.pipeline.stages[name].phases
        words = [
            phases[part].name if isinstance(part, int) and path[:number] == ("phases",) else str(part)
            for number, part in enumerate(path)
        ]
        return ".".join(words) or "stage"

    def full_rate(self, rate: float) -> Fraction:
        """The learning rate of full size that is `rate` at this scale."""
        return Fraction(rate) / (self.shrink.shrink.lr if self.shrink.shrink is not None else 1)

    def highest_rate(self, stage: Stage) -> Fraction | None:
        """The highest rate that a stage reads, in full-size figures; None where it reads none, or its schedule leaves
        some of its counts out, which I-03 to I-05 find.
        """
        if stage.schedule is None or not stage.phases:
            return None
        span = stage.phases[0].clock_start, stage.phases[-1].clock_end
        return self.full_rate(peak(stage.schedule, *span)[0]) if covers(stage.schedule, *span) else None

    def full_context(self, positions: int) -> Fraction:
        """The length of full size that is `positions` at this scale."""
        return positions / (self.shrink.shrink.context if self.shrink.shrink is not None else Fraction(1))

    def writes(self, where: Where) -> bool:
        """Whether a line is in a file of the pipeline itself, and not of what it extends."""
        return self.loaded.writes(where)

    def where(self, name: str, *path: str | int) -> Where:
        """The line of a key of a stage's spec; an import's training is written below `stand_in`."""
        stage = self.pipeline.stages[name]
        below = path and path[0] in ("phases", "schedule", "optimizer") and stage.kind == "import"
        return self.pipeline.where(name, *(("stand_in", *path) if below else path))

    def of_execution(self, id: str, name: str, *key: str, observed: str, expected: str, repair: str) -> Finding:
        """A finding about a key of a stage's execution, at the line that says it: the stage's or the scale's."""
        return self.finding(
            id, name, ("execution", *key), observed=observed, expected=expected, repair=repair,
            where=self.where_execution(name, key),
        )  # fmt: skip

    def where_execution(self, name: str, path: Path) -> Where:
        """The line of a key of a stage's execution: the stage's at full size, else the scale's."""
        own, scale = self.pipeline.documents[name], self.shrink.document
        places: list[tuple[Document, Path]] = [
            (own, ("execution", *path)),
            *((scale, (*at, *path)) for at in entries(self.shrink, self.pipeline.stages[name].name)),
            (scale, ("execution", *path)),
        ]  # fmt: skip
        first = 0 if self.shrink.shrink is None else 1
        document, path = next((one for one in places[first:] if one[1] in one[0].places), places[-1])
        return document.where(path)

    def model_name(self, name: str, module: str) -> str:
        """The model of pipeline.yaml that a stage's module has; a stage that names none has its parents'."""
        raw = self.loaded.stages[name].raw
        if isinstance(raw, (RawTrain, RawImport, RawUpcycle)):
            return raw.modules[module]
        return self.model_name(self.pipeline.stages[name].parents[0].rpartition("/")[2], module)

    def full_model(self, name: str, module: str) -> Model:
        """A module's model as pipeline.yaml has it, for a stage that names its modules."""
        return models.full(self.loaded, self.model_name(name, module))

    def where_size(self, name: str, module: str, key: str) -> Where:
        """The line of a size of a module's model: the scale's own where it changes it, else that of pipeline.yaml."""
        model = self.model_name(name, module)
        path: Path = ("pipelines", self.shrink.pipeline, "models", model, key)
        if path in self.shrink.document.places:
            return self.shrink.document.where(path)
        if key == "vocab" and ("vocab",) in self.shrink.document.places:
            return self.shrink.document.where(("vocab",))
        return self.loaded.document.where(("models", model, key))

    def where_models(self, name: str, module: str, key: str) -> Where:
        """The line of what a scale makes of a size: of the size itself, or of its models, which leave it as it was."""
        path: Path = ("pipelines", self.shrink.pipeline, "models")
        sized = (*path, self.model_name(name, module), key)
        return self.shrink.document.where(sized if sized in self.shrink.document.places else path)
