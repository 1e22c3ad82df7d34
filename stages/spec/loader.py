"""Reads pipelines and scales: files to checked raw specs, variants laid over what they extend."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stages.errors import InvalidSpecs, SpecError, Where
from stages.spec import other_trainers, points, quantities
from stages.spec.engines import unsaid
from stages.spec.extends import overlay
from stages.spec.files import Files, check_name, check_sources, written_by
from stages.spec.nodes import Document, Tree
from stages.spec.resolved_models import LANGUAGE_MODELS
from stages.spec.schema.data import RawScale
from stages.spec.schema.pipeline import RawPipeline
from stages.spec.schema.stages import STAGES, RawImport, RawStage, RawTrain
from stages.spec.validate import hint, several, validate
from stages.spec.variants import vary


@dataclass(frozen=True)
class LoadedStage:
    """A raw stage and where its keys are. `sources` are those of each file that it is written in, by the file."""

    raw: RawStage
    document: Document
    sources: Mapping[str, list[dict[str, Tree]]] = field(default_factory=dict)


RELEASE = "release:"  # how `init.weights` names one


@dataclass(frozen=True)
class LoadedPipeline:
    """A raw pipeline, its stages by name, and where everything is."""

    name: str
    raw: RawPipeline
    document: Document
    stages: dict[str, LoadedStage]

    def writes(self, where: Where) -> bool:
        """Whether a line is in a file of the pipeline itself, and not of what it extends."""
        return written_by(self.name, where)

    @cached_property
    def releases(self) -> dict[str, tuple[tuple[str, str, str], ...]]:
        """Stage -> (module, release, model) of each module that starts from a released model."""
        return {name: found for name, stage in self.stages.items() if (found := tuple(_releases(stage.raw)))}

    @cached_property
    def imported(self) -> frozenset[str]:
        """The releases that come in whole."""
        return frozenset(stage.raw.release for stage in self.stages.values() if isinstance(stage.raw, RawImport))

    @cached_property
    def vocabularies(self) -> dict[str, int]:
        """The vocabulary of each language model, except for those of stages with a tokenizer of their own."""
        raws = [stage.raw for stage in self.stages.values() if isinstance(stage.raw, RawTrain)]
        extended = {name for raw in raws if raw.tokenizer for name in raw.modules.values()}
        models = {
            name: fields
            for name, fields in self.raw.models.items()
            if fields.get("family") in LANGUAGE_MODELS and name not in extended
        }
        return {name: fields["vocab"] for name, fields in models.items() if "vocab" in fields}


def _releases(raw: RawStage) -> Iterator[tuple[str, str, str]]:
    if isinstance(raw, RawImport):
        module, model = next(iter(raw.modules.items()))
        yield module, raw.release, model
    elif isinstance(raw, RawTrain):
        for module, how in raw.init.weights.items():
            if str(how).startswith(RELEASE):
                yield module, str(how).removeprefix(RELEASE), raw.modules.get(module, module)


def load_pipeline(files: Files, name: str) -> LoadedPipeline:
    """One pipeline; a variant is laid over the pipeline it extends. Stages with `variants` are what these stand for."""
    written = _load(files, name, ())
    document, raw, stages = written.document, written.raw, dict[str, LoadedStage]()
    for stage, one in written.stages.items():
        if not isinstance(one.raw, RawTrain) or one.raw.variants is None:
            stages[stage] = one
            continue
        varied = vary(one.raw, one.document, document)
        if taken := [new for new in varied.stages if new in written.stages]:
            found = f"{taken[0]}, and there is a stage of that name"
            raise one.document.error(("variants", "values"), found, "names that are free", f"Rename {taken[0]}.")
        document = varied.listing
        raw = raw.model_copy(update={"schedules": varied.shared.schedules, "optimizers": varied.shared.optimizers})
        stages |= {new: LoadedStage(made, its, one.sources) for new, (made, its) in varied.stages.items()}
    return LoadedPipeline(name, raw, document, _with_points(stages))


def _load(files: Files, name: str, above: tuple[str, ...]) -> LoadedPipeline:
    """A pipeline as it is written, laid over what it extends."""
    own = files.document(files.specs / name / "pipeline.yaml")
    check_name(own, "pipeline", name)
    extends = _extended(own, files.pipelines(), (*above, name))
    base = _load(files, extends, (*above, name)) if extends is not None else None
    document = overlay(base.document, own) if base else own
    raw = validate(document, RawPipeline)
    if base is not None:  # a variant has its own totals and findings, and may start models from other releases
        theirs: dict[str, Any] = {"claims": [], "parameters": {}, "waivers": []}
        raw = raw.model_copy(update={key: none for key, none in theirs.items() if key not in own.value})
    check_sources(own)
    for index, stage in enumerate(raw.drop):
        if stage not in raw.stages:
            raise document.error(("drop", index), repr(stage), ", ".join(raw.stages), hint(stage, raw.stages))
    names = [stage for stage in raw.stages if stage not in raw.drop]
    _strays(files, name, names)
    return LoadedPipeline(name, raw, document, {stage: _stage(files, name, stage, base, document) for stage in names})


def _with_points(stages: Mapping[str, LoadedStage]) -> dict[str, LoadedStage]:
    """The stages, each followed by its points that any of them starts from. Raises SpecError for what is no point."""
    found: dict[str, dict[str, LoadedStage]] = {}
    for stage in stages.values():
        for path, text in points.origins(stage.raw):
            try:
                point = points.read(text)
            except quantities.BadQuantity as error:
                raise stage.document.error(path, error.found, error.allowed, error.repair) from None
            if point is None or point.name in found.get(point.trunk, {}):
                continue
            trunk = stages.get(point.trunk)
            if trunk is None or not isinstance(trunk.raw, RawTrain):
                trained = [name for name, one in stages.items() if isinstance(one.raw, RawTrain)]
                raise stage.document.error(
                    path, f"a point of {point.trunk!r}, which is no stage that trains", ", ".join(trained),
                    hint(point.trunk, trained),
                )  # fmt: skip
            if point.name in stages:
                raise stage.document.error(
                    path, f"{text}, whose name is {point.name}, and there is a stage of that name",
                    "stages of other names", f"Rename stage {point.name}.",
                )  # fmt: skip
            made = LoadedStage(points.cut(point, trunk.raw, stage.document, path), trunk.document)
            found.setdefault(point.trunk, {})[point.name] = made
    ordered: dict[str, LoadedStage] = {}
    for name, stage in stages.items():
        ordered |= {name: stage, **found.get(name, {})}
    return ordered


def _strays(files: Files, pipeline: str, names: list[str]) -> None:
    """A stage file that no list names would be silently ignored."""
    for stage in files.names(pipeline):
        if stage not in (*names, "pipeline"):
            raise SpecError(
                Where(f"specs/{pipeline}/{stage}.yaml", 1), "stage", f"{stage!r}, which pipeline.yaml does not list",
                ", ".join(names), "Add it to `stages:`, or remove the file.",
            )  # fmt: skip


def _stage(files: Files, pipeline: str, name: str, base: LoadedPipeline | None, listing: Document) -> LoadedStage:
    path = files.specs / pipeline / f"{name}.yaml"
    inherited = base.stages.get(name) if base else None
    if inherited and not path.exists():
        return inherited
    if not path.exists():
        raise listing.error(
            ("stages",),
            f"{name!r} without a file",
            "stages that have a file",
            f"Write {files.relative(path)}, or take it out of the list.",
        )
    own = files.document(path)
    check_name(own, "stage", name)
    document = overlay(inherited.document, own) if inherited else own
    kind = document.value.get("kind")
    if not isinstance(kind, str) or kind not in STAGES:
        repair = "Add `kind: ...`." if kind is None else other_trainers.word(kind) or hint(str(kind), STAGES)
        raise document.error(("kind",), quantities.describe(kind), ", ".join(STAGES), repair)
    raw = validate(document, STAGES[kind])
    check_sources(own)
    above = inherited.sources if inherited else {}
    return LoadedStage(raw, document, {**above, files.relative(path): own.value.get("sources", [])})


@dataclass(frozen=True)
class LoadedScale:
    """A raw scale and where everything is; `wrong` are its entries for pipelines that cannot be used.

    In `raw` such an entry is the identity, which must not be taken for it. `own` are the keys of its own file.
    """

    raw: RawScale
    document: Document
    wrong: Mapping[str, InvalidSpecs]
    own: frozenset[str]


def load_scale(files: Files, name: str, above: tuple[str, ...] = ()) -> LoadedScale:
    """One scale, laid over the scale it extends. What is wrong in one pipeline's entry is that pipeline's error."""
    path = files.specs / "scales" / f"{name}.yaml"
    own = files.document(path)
    check_name(own, "scale", name)
    check_sources(own)
    extends = _extended(own, files.names("scales"), (*above, name))
    base = load_scale(files, extends, (*above, name)) if extends is not None else None
    document = overlay(base.document, own) if base is not None else own
    if base is not None and own.value.get("seed") == str(base.raw.seed):
        found, repair = f"{base.raw.seed}, which {extends} has too", "Write another one, or leave the line out."
        raise own.error(("seed",), found, "a seed of its own", repair)
    try:
        return LoadedScale(_whole(document), document, {}, frozenset(own.value))
    except InvalidSpecs as error:
        wrong = _by_pipeline(error.errors)
        if None in wrong:
            raise
    entries = {**document.value["pipelines"], **{str(pipeline): "identity" for pipeline in wrong}}
    raw = _whole(Document({**document.value, "pipelines": entries}, document.places))
    errors_of = {str(pipeline): several(errors) for pipeline, errors in wrong.items()}
    return LoadedScale(raw, document, errors_of, frozenset(own.value))


def _whole(document: Document) -> RawScale:
    """A scale that says all of its engines. Raises InvalidSpecs."""
    raw = validate(document, RawScale)
    if errors := list(unsaid(raw, document)):
        raise several(errors)
    return raw


def _by_pipeline(errors: Iterable[SpecError]) -> dict[str | None, list[SpecError]]:
    """The mistakes of a scale by the pipeline in whose entry they stand; None where they are of the whole scale."""
    found: dict[str | None, list[SpecError]] = {}
    for error in errors:
        head, _, rest = error.key.partition(".")
        found.setdefault(rest.partition(".")[0] if head == "pipelines" and rest else None, []).append(error)
    return found


def _extended(own: Document, known: Collection[str], above: Collection[str]) -> str | None:
    """The name of what a file extends, if anything: one of those known, but neither itself nor one that extends it."""
    extends = own.value.get("extends")
    choice = [one for one in known if one not in above]
    if extends is None or extends in choice:
        return extends
    raise own.error(("extends",), quantities.describe(extends), ", ".join(choice), hint(str(extends), choice))
