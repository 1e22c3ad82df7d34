"""What DVC watches of the spec files: the keys that may change a stage's key, and no others.

A stage's key follows from its own spec, from what that names in other files, from its parents' keys and its corpora.
The last two reach DVC as changed manifests; all the rest is named here, so that an edit of one schedule calls only the
stages that read it. DVC refuses to record a key that a file does not have: where one is absent, it watches the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.data.spec import TOKENIZER
from stages.spec.graph import parents
from stages.spec.loader import LoadedPipeline
from stages.spec.nodes import Tree
from stages.spec.numbers import schedules_of
from stages.spec.points import RawPoint
from stages.spec.project import Project
from stages.spec.resolved_phases import packs_whole
from stages.spec.schema.data import RawScale
from stages.spec.schema.stages import RawImport, RawStage, RawStandIn, RawTrain, RawUpcycle
from stages.spec.variants import RawVariant, written_as

Keys = tuple[str, ...]
Watched = dict[str, list[str] | None]  # spec file -> its keys as DVC writes them, None for the whole file

SHARED = ("engine_class", "seed", "corpora", "releases", "vocab", "evaluation")  # what a scale says of every stage


def watched(project: Project, ref: str, scale: str) -> Watched:
    """The spec files that make a published stage what it is, each with its keys. Raises SpecError, UsageError."""
    pipeline, name = ref.split("/")
    raw_scale, loaded = project.scale(scale), project.loaded(pipeline)
    found: Watched = {f"{pipeline}/{_file(loaded, name)}.yaml": None}
    for above in _counted_before(loaded, name) if isinstance(loaded.stages[name].raw, RawTrain) else ():
        _add(project, found, f"{pipeline}/{above}.yaml", ("phases",))
    for keys in _named(loaded, loaded.stages[name].raw, raw_scale):
        _add(project, found, f"{pipeline}/pipeline.yaml", keys)
    declared = project.data.named(loaded.raw.tokenizer, raw_scale.has_corpora)
    if declared is not None:
        _add(project, found, f"{pipeline}/pipeline.yaml", ("tokenizer",))
        _add(project, found, f"tokenizers/{declared.tokenizer}.yaml", ("digest",))
    for release in releases(loaded.stages[name].raw) if raw_scale.has_releases else ():
        if release in project.data.releases:
            _add(project, found, f"releases/{release}.yaml", ("digest",))
    for file, keys in _data(project, loaded.stages[name].raw, raw_scale):
        _add(project, found, file, keys)
    for file in _scale_files(project, scale):
        for keys in _of_scale(raw_scale, pipeline):
            _add(project, found, file, keys)
    return {f"specs/{file}": keys for file, keys in found.items()}


def _file(loaded: LoadedPipeline, name: str) -> str:
    """The stage in whose file one is written: a point's is its trunk's, a variant's that of all variants."""
    raw = loaded.stages[name].raw
    if isinstance(raw, RawPoint):
        return _file(loaded, raw.trunk)
    return raw.written if isinstance(raw, RawVariant) else name


def _counted_before(loaded: LoadedPipeline, name: str) -> Iterator[str]:
    """The stages whose budgets a continued clock has counted: the schedule is laid along them too."""
    raw = loaded.stages[name].raw
    if isinstance(raw, (RawTrain, RawUpcycle)) and raw.init.clock == "reset":
        return
    for parent in parents(loaded.stages[name]):
        if isinstance(loaded.stages[parent].raw, RawTrain):
            yield _file(loaded, parent)
        yield from _counted_before(loaded, parent)


def _training(raw: RawStage, scale: RawScale) -> RawTrain | RawStandIn | None:
    """What says how a stage trains at a scale."""
    if isinstance(raw, RawImport):
        return raw.stand_in if not scale.has_releases else None
    return raw if isinstance(raw, RawTrain) else None


def _named(loaded: LoadedPipeline, raw: RawStage, scale: RawScale) -> Iterator[Keys]:
    """What a stage reads of its pipeline's file."""
    if isinstance(raw, (RawTrain, RawImport, RawUpcycle)):
        yield from (("models", model) for model in raw.modules.values())
    training = _training(raw, scale)
    if training is not None:
        yield "optimizers", written_as(raw, training.optimizer)
        yield "schedules", written_as(raw, training.schedule)
        yield from (("schedules", name) for name in schedules_of(loaded, training))
    if scale.has_corpora:
        yield ("tokenizer",)


def releases(raw: RawStage) -> Iterator[str]:
    """The released models that a stage starts from."""
    if isinstance(raw, RawImport):
        yield raw.release
    elif isinstance(raw, RawTrain):
        yield from (str(how).removeprefix("release:") for how in raw.init.weights.values() if "release:" in str(how))


def _data(project: Project, raw: RawStage, scale: RawScale) -> Iterator[tuple[str, Keys]]:
    """The mixtures of a stage's phases, and what takes the place of the corpora in them."""
    training, published = _training(raw, scale), project.data.published.corpora
    if training is None and isinstance(raw, RawImport) and not scale.has_corpora:
        yield f"data/{TOKENIZER}.yaml", ("digest",)  # built on nothing that would tell it
    for mixture in _mixtures(raw, training):
        yield "data/mixtures.yaml", ("mixtures", mixture)
        for source in project.data.mixtures.mixtures[mixture].sources:
            if source.corpus in project.data.bind:
                yield "data/bind.yaml", ("bind", source.corpus)
            elif not scale.has_corpora and source.corpus in published:
                yield "data/published.yaml", ("corpora", source.corpus, "stand_in")
    for phase in training.phases if training is not None else ():
        for source in project.data.mixtures.mixtures[phase.data].sources:
            name = project.data.read_as(source.corpus, scale.has_corpora)
            local = project.data.corpora.get(name)
            if local is not None and packs_whole(phase.packing, phase.objective, local.kind) and local.unit == "tokens":
                yield f"data/{name}.yaml", ("packed",)  # what fits into rows decides how long a stretch is


def _mixtures(raw: RawStage, training: RawTrain | RawStandIn | None) -> Iterator[str]:
    """What a stage is trained on, or an import evaluated."""
    if training is not None:
        yield from (phase.data for phase in training.phases)
    elif isinstance(raw, RawImport) and raw.evaluate_on is not None:
        yield raw.evaluate_on.data


def _scale_files(project: Project, scale: str) -> list[str]:
    """The scale's file and those it extends, which contain what the first one leaves out."""
    files: list[str] = []
    name: str | None = scale
    while name is not None:
        files.append(f"scales/{name}.yaml")
        name = _tree(project, files[-1]).get("extends")
    return files


def _of_scale(scale: RawScale, pipeline: str) -> Iterator[Keys]:
    """What a scale says of every stage, and how it shrinks this pipeline."""
    yield from ((key,) for key in SHARED)
    if scale.torch_class is not None:  # stages have one of two classes
        yield from (("engine",), ("torch_class",))
    yield ("pipelines",) if scale.pipelines is None else ("pipelines", pipeline)


def _add(project: Project, found: Watched, file: str, keys: Keys) -> None:
    """Watch one more key of a file, or the whole file where it does not have the key: DVC could not record that."""
    watching = found.setdefault(file, [])
    if watching is None:
        return
    named = ".".join(keys)  # names contain neither dots nor what DVC takes for a pattern (spec.names)
    if not _holds(_tree(project, file), keys):
        found[file] = None
    elif named not in watching:
        watching.append(named)


def _holds(tree: Tree, keys: Keys) -> bool:
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return False
        tree = tree[key]
    return True


def _tree(project: Project, file: str) -> Tree:
    return project.files.document(project.files.specs / file).value
