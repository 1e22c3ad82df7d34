"""The entry to specs: load a project, resolve its pipelines at a scale, know every key."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from stages.errors import InvalidSpecs, SpecError, UsageError
from stages.spec.files import Files
from stages.spec.lineages import Lineages
from stages.spec.loader import LoadedPipeline, LoadedScale, load_pipeline, load_scale
from stages.spec.loader_data import LoadedData, load_data, load_hardware
from stages.spec.resolved_pipeline import ResolvedPipeline, resolved
from stages.spec.scale_names import same, unknown_names, unknown_pipelines
from stages.spec.scales import Scale
from stages.spec.schema.corpora import RawCorpus
from stages.spec.schema.data import RawScale
from stages.spec.schema.hardware import RawHardware
from stages.spec.scope import Scope
from stages.spec.unread_files import strays
from stages.spec.validate import hint, several

RESEEDED = frozenset({"scale", "extends", "seed", "sources"})  # keys of a scale that changes seeds alone


class Project:
    """Everything below specs/. Files are read once, at the first need."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = Files(root)
        self._pipelines: dict[str, LoadedPipeline] = {}
        self._scales: dict[str, LoadedScale] = {}
        self._maps: dict[tuple[str, str], Scale] = {}
        self._machines: dict[str, RawHardware | None] = {}
        self._lineages = Lineages(self.files)
        self._resolved: dict[tuple[str, str], ResolvedPipeline] = {}

    @classmethod
    def load(cls, root: Path) -> Project:
        """The project whose specs are in root/specs. Raises UserError if there are none."""
        return cls(root)

    def scales(self) -> list[str]:
        """Names of the scales, as they were at the first call."""
        return list(self._scale_names)

    def pipelines(self, variants: bool, scale: str | None = None) -> list[str]:
        """Names of the published pipelines, and of the variants after them if wanted; of a scale only those at it."""
        names = [name for name in self.files.pipelines() if scale is None or self.has(name, scale)]
        own = [name for name in names if self.extends(name) is None]
        return own + [name for name in names if self.extends(name) is not None] if variants else own

    def has(self, pipeline: str, scale: str) -> bool:
        """Whether a pipeline is at a scale: whether the scale says how it, or what it extends, shrinks.

        One whose file cannot be read counts as there, so that it is read and its mistake named.
        """
        entries = self.scale(scale).pipelines
        return (
            entries is None
            or any(name in entries for name in self._lineages.of(pipeline))
            or self._lineages.broken(pipeline)
        )

    def scales_of(self, pipeline: str) -> list[str]:
        """The scales that a pipeline is at, of those that can be read."""
        return [scale for scale in self.scales() if self._readable(scale) and self.has(pipeline, scale)]

    def reseeds(self, pipeline: str, scale: str) -> str | None:
        """The scale that `scale` extends, where the pipeline has other seeds there and is the same otherwise.

        None for a variant: which stages it has in common with what it extends follows from the seeds too.
        """
        if self.extends(pipeline) is not None or not self._readable(scale):
            return None
        own = self.files.entry("scales", scale).value
        return str(own["extends"]) if "extends" in own and own.keys() <= RESEEDED else None

    def absent(self, scale: str) -> list[str]:
        """Pipelines and variants that are not at a scale."""
        return [name for name in self.pipelines(variants=True) if not self.has(name, scale)]

    def resolve(self, pipeline: str, scale: str) -> ResolvedPipeline:
        """A pipeline at a scale. Raises UsageError for unknown names, InvalidSpecs for mistakes in specs."""
        if (pipeline, scale) not in self._resolved:
            self._resolved[pipeline, scale] = self._resolve(pipeline, scale)
        return self._resolved[pipeline, scale]

    def resolve_all(
        self, scale: str, variants: bool = True
    ) -> tuple[dict[str, ResolvedPipeline], dict[str, InvalidSpecs]]:
        """Every pipeline (and variant) at a scale; apart from them, the errors of those that cannot be resolved."""
        found: dict[str, ResolvedPipeline] = {}
        errors: dict[str, InvalidSpecs] = {}
        for name in self.pipelines(variants, scale):
            try:
                found[name] = self.resolve(name, scale)
            except InvalidSpecs as error:
                errors[name] = error
        return found, errors

    def keys(self, scale: str) -> dict[str, str]:
        """The key of every stage that has a rule, variants included, by "pipeline/stage"."""
        found = {}
        for name in self.pipelines(variants=True, scale=scale):
            resolved = self.resolve(name, scale)
            found.update({resolved.refs[stage]: resolved.keys[stage] for stage in resolved.own})
        return found

    def scale(self, name: str) -> RawScale:
        """A scale's own figures."""
        return self._scale(name).raw

    def machine(self, name: str) -> RawHardware | None:
        """A profile of specs/hardware, None where there is none. Raises InvalidSpecs for mistakes in it."""
        if name not in self._machines:
            there = name in self.files.names("hardware")
            self._machines[name] = load_hardware(self.files, name) if there else None
        return self._machines[name]

    def unknown_in(self, scale: str) -> list[SpecError]:
        """What of a scale is wrong for no pipeline: entries for those that there are not, all that another scale says.

        Nothing where its file cannot be read.
        """
        try:
            known, loaded = self.files.pipelines(), self._scale(scale)
            wrong = [one for name, errors in loaded.wrong.items() if name not in known for one in errors.errors]
            others = [self._scale(one) for one in self.scales() if one < scale and self._readable(one)]
            named = unknown_pipelines(loaded.raw, loaded.document, known, self.absent(scale))
            return [*named, *wrong, *same(loaded, others)]
        except InvalidSpecs:
            return []

    def shrink(self, pipeline: str, scale: str) -> Scale:
        """How the figures of a pipeline's specs become those of a scale. Raises UsageError for unknown names."""
        if (pipeline, scale) not in self._maps:
            self._maps[pipeline, scale] = self._map(self.loaded(pipeline), self._scale(scale))
        return self._maps[pipeline, scale]

    @cached_property
    def _scale_names(self) -> list[str]:
        return self.files.names("scales")

    @cached_property
    def data(self) -> LoadedData:
        """Corpora, mixtures and the tokenizer."""
        return load_data(self.files)

    @property
    def readable_corpora(self) -> Mapping[str, RawCorpus]:
        """The corpora of specs/data; none where these cannot be read, which is a finding of its own."""
        with suppress(InvalidSpecs):
            return self.data.corpora
        return {}

    def loaded(self, name: str) -> LoadedPipeline:
        """A pipeline's raw specs."""
        if name not in self._pipelines:
            names = self.files.pipelines()
            if name not in names:
                raise UsageError(f"unknown pipeline {name!r}; there are: {', '.join(names)}. {hint(name, names)}")
            self._pipelines[name] = load_pipeline(self.files, name)
        return self._pipelines[name]

    @cached_property
    def strays(self) -> tuple[SpecError, ...]:
        """Files below specs/ that no command reads."""
        return tuple(strays(self.files))

    @cached_property
    def loadable(self) -> tuple[LoadedPipeline, ...]:
        """All pipelines and variants whose files can be read."""
        found = []
        for name in self.pipelines(variants=True):
            with suppress(InvalidSpecs):
                found.append(self.loaded(name))
        return tuple(found)

    def extends(self, name: str) -> str | None:
        """What a pipeline extends; of a file that cannot be read nothing is known."""
        return self._lineages.extends(name)

    def _readable(self, scale: str) -> bool:
        try:
            self.scale(scale)
        except InvalidSpecs:
            return False
        return True

    def _scale(self, name: str) -> LoadedScale:
        if name not in self._scales:
            if name not in self.scales():
                raise UsageError(
                    f"unknown scale {name!r}; there are: {', '.join(self.scales())}. {hint(name, self.scales())}"
                )
            self._scales[name] = load_scale(self.files, name)
        return self._scales[name]

    def _map(self, pipeline: LoadedPipeline, loaded: LoadedScale) -> Scale:
        """The scale's entry for a pipeline; variants take that of the pipeline they extend."""
        raw, document = loaded.raw, loaded.document
        if raw.pipelines is None:
            return Scale(None, document, pipeline.name)
        name: str | None = pipeline.name
        while name is not None and name not in raw.pipelines:
            name = self.extends(name)
        if name is None:
            raise document.error(
                ("pipelines",),
                f"nothing about pipeline {pipeline.name!r}",
                "an entry for every pipeline that is at this scale, or for what it extends",
                f"Add `{pipeline.name}: ...` there: how it shrinks, or identity; or use a scale that it is at.",
            )
        if name in loaded.wrong:
            raise loaded.wrong[name]
        shrink = raw.pipelines[name]
        if shrink is not None and not self._lineages.any_broken:  # a broken one may have the names
            wrong = list(unknown_names(shrink, document, name, self._lineages.takers(name)))
            if wrong:
                raise several(wrong)
        return Scale(shrink, document, name)

    def _resolve(self, name: str, scale: str) -> ResolvedPipeline:
        raw_scale, loaded = self.scale(scale), self.loaded(name)
        scope = Scope(loaded, self.data, raw_scale, self.shrink(name, scale))
        return resolved(scope, self.resolve(loaded.raw.extends, scale) if loaded.raw.extends else None)
