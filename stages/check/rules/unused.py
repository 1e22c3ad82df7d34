"""What specs declare and nothing reads: S-11."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.mechanisms import inert
from stages.contract import ledger
from stages.contract.mixture import Mixture
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Path
from stages.spec.numbers import schedules_of
from stages.spec.resolved_models import Model
from stages.spec.schema.stages import RawImport, RawTrain, RawUpcycle
from stages.spec.variants import sweeps, written_as

KEYS = {"schedules": "schedule", "optimizers": "optimizer", "models": "model"}  # of pipeline.yaml, and what each has


@static(
    "S-11",
    title="What is declared is read",
    rule="A schedule, an optimizer or a model is named by a stage of its pipeline or of one that extends it; the value "
    "in whose place a sweep puts others is one of them, or another stage reads it. At full size, every corpus of a "
    "mixture gives each phase that names it a row, intervals of layers (`nope_every`, `full_every`) are met by some "
    "layers and not by all, and a token takes some of the experts and not all.",
    why="An entry that nothing names is a name misspelt where it is used, or one that an edit left behind: whoever "
    "changes it next changes nothing. A share that comes to less than a row is a corpus that nobody learns from.",
    threads=(),
)
def declared_is_read(context: Context) -> Iterator[Finding]:
    """S-11, of files and not of stages: what nothing reads keeps no stage from being run.

    Where a pipeline cannot be loaded, what it reads is not known, and nothing of this is seen.
    """
    yield from _without_a_row(context)
    yield from _inert_figures(context)
    if not context.all_read:
        return
    everyone = (context.loaded, *context.others)
    name, document = context.loaded.name, context.loaded.document
    extends = {one.name: one.raw.extends for one in everyone}
    heirs = [one for one in everyone if name in lineage(one.name, extends)]
    for key, what in KEYS.items():
        named = {entry for one in heirs for stage in one.stages.values() for entry in names_of(stage, key)}
        if key == "schedules":
            named |= {entry for one in heirs for stage in one.stages.values() for entry in _of_numbers(one, stage)}
        for entry in getattr(context.loaded.raw, key):
            where = document.where((key, entry))
            if entry not in named and context.writes(where):
                yield Finding(
                    "S-11", context.pipeline.scale, f"{name}/pipeline", None,
                    observed=f"the {what} {entry!r}, which nothing names", expected="a stage that names it",
                    repair="Name it where it is meant, or remove it.", where=where,
                    at=(f"{key}.{entry}",), found="unread",
                )  # fmt: skip
    yield from _replaced(context, heirs)


def _without_a_row(context: Context) -> Iterator[Finding]:
    """Corpora whose share of a phase is less than a row. A smaller scale has fewer rows, and the same mixture."""
    for name, _, number, phase in context.phases() if context.shrink.shrink is None else ():
        rows, raw = ledger.samples(phase), context.raw_phase(name, number)
        given = Mixture(phase).counts(rows) if phase.sources else ()
        unread = {source.corpus for source, count in zip(phase.sources, given, strict=True) if not count}
        for index, source in enumerate(context.mixture(name, number)):
            here = {context.data.read_as(source.corpus, published) for published in (True, False)}
            if raw is None or not here & unread:
                continue
            key: Path = ("mixtures", raw.data, "sources", index, "share")
            share = f"{float(source.share) * 100:.3g}% of the {source.group} rows"
            yield context.finding(
                "S-11", name, ("phases", number, "data"),
                observed=f"{share} from {source.corpus}, none of the {rows:,} rows of phase {phase.name}",
                expected="a row at least", repair="Raise the share or the budget, or take the corpus out.",
                at=(f"phases.{phase.name}.data.{source.corpus}",), found="no row",
                where=context.data.mixtures_document.where(key),
            )  # fmt: skip


def _inert_figures(context: Context) -> Iterator[Finding]:
    """Figures of models that switch off what they name, each at the first stage that has the model."""
    seen: set[tuple[Model, str]] = set()
    for name, stage in context.own if context.shrink.shrink is None else ():
        for module, model in stage.modules.items():
            for key, follows, expected in inert(model):
                if (model, key) in seen:
                    continue
                seen.add((model, key))
                yield context.finding(
                    "S-11", name, ("modules", module), observed=f"{module}.{key}: {getattr(model, key)}: {follows}",
                    expected=expected, repair="Correct it, or take a family that does not have it.",
                    at=(f"modules.{module}.{key}",), found="no effect",
                    where=context.where_size(name, module, key),
                )  # fmt: skip


def _replaced(context: Context, heirs: Sequence[LoadedPipeline]) -> Iterator[Finding]:
    """What is written in the place of a sweep's field, where no variant has it and no other stage reads it."""
    read = {
        (key, entry) for one in heirs for stage in one.stages.values() for key in ("schedules", "optimizers")
        for entry in _read_as_written(one, stage, key)
    }  # fmt: skip
    sweeps_here = sweeps(stage.raw for stage in context.loaded.stages.values())
    for written, variants in sweeps_here.items():
        first = next(iter(variants.values()))
        key, _, entry = first.field.partition(".")
        if first.replaced is None or (key, entry.partition(".")[0]) in read:
            continue
        value, where = first.replaced
        if context.writes(where):
            yield Finding(
                "S-11", context.pipeline.scale, f"{context.loaded.name}/pipeline", None,
                observed=f"{first.field}: {value}, which every variant of {written!r} replaces",
                expected=f"one of {', '.join(one.value for one in variants.values())}",
                repair="Write one of the values there (a seed may be left out), or make it one of the values.",
                where=where, at=(first.field,), found=value,
            )  # fmt: skip


def _read_as_written(pipeline: LoadedPipeline, stage: LoadedStage, key: str) -> Iterator[str]:
    """The schedules or optimizers that a stage reads as pipeline.yaml has them, which a variant's copy is not."""
    training = stage.raw.training
    if training is not None:
        yield training.schedule if key == "schedules" else training.optimizer
        yield from schedules_of(pipeline, training) if key == "schedules" else ()


def _of_numbers(pipeline: LoadedPipeline, stage: LoadedStage) -> Iterator[str]:
    training = stage.raw.training
    yield from schedules_of(pipeline, training) if training is not None else ()


def lineage(name: str, extends: Mapping[str, str | None]) -> list[str]:
    """A pipeline and what it extends, up to one that extends none."""
    found = [name]
    while (above := extends.get(found[-1])) is not None:
        found.append(above)
    return found


def names_of(stage: LoadedStage, key: str) -> Iterator[str]:
    """The entries below a key of pipeline.yaml that a stage names."""
    raw = stage.raw
    if key == "models":
        yield from raw.modules.values() if isinstance(raw, (RawTrain, RawImport, RawUpcycle)) else ()
        return
    training = stage.raw.training
    if training is not None:
        named = training.schedule if key == "schedules" else training.optimizer
        yield from dict.fromkeys((named, written_as(raw, named)))


def mixtures(data: LoadedData, everyone: Iterable[LoadedPipeline]) -> list[str]:
    """Mixtures that no stage of these pipelines names: a project may have more of them than it uses."""
    read = {name for one in everyone for stage in one.stages.values() for name in stage.raw.mixtures}
    return [name for name in data.mixtures.mixtures if name not in read]


def corpora(data: LoadedData) -> list[str]:
    """Published corpora that no mixture names: one was lost from a mixture, or its name was changed in one place."""
    read = {source.corpus for mixture in data.mixtures.mixtures.values() for source in mixture.sources}
    return [name for name in data.published.corpora if name not in read]
