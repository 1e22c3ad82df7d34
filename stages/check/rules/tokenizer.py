"""Which tokenizer and which vocabulary: I-41, S-10."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.shapes import of_family
from stages.spec.loader import LoadedPipeline
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS

PADDING = 1.05  # vocabularies are padded up to a round number: two that differ by less may be one


@static(
    "I-41",
    title="A lineage has one tokenizer, and a tokenizer one vocabulary",
    rule="Every stage with a language model has a tokenizer, its parents' or one that extends it where its weights are "
    "extended too, and reads corpora that were cut "
    "with it; a variant of the same model keeps the tokenizer. Pipelines that name the same tokenizer have language "
    "models of one vocabulary (to within a padding of 5%), and a release comes with the same tokenizer wherever it is "
    "imported.",
    why="Ids of another tokenizer are valid indices into the embedding table: the loss starts high, falls, and what "
    "the model had learned is gone.",
    threads=("Lightning-AI/litgpt#471", "pytorch/torchtitan#2074"),
)
def one_tokenizer(context: Context) -> Iterator[Finding]:
    """I-41."""
    for name, stage in context.own:
        wanted = _wanted(context, name, stage)
        if wanted is not None:
            yield context.finding(
                "I-41", name, ("tokenizer",), observed=f"tokenizer {stage.tokenizer!r}", expected=wanted,
                repair="Name the tokenizer with which the model was and is trained.",
                where=context.loaded.document.where(("tokenizer",)),
            )  # fmt: skip
        yield from _corpora(context, name, stage)
    yield from _named_elsewhere(context)


def _corpora(context: Context, name: str, stage: Stage) -> Iterator[Finding]:
    """Local corpora of a stage that were cut with another tokenizer than the stage's."""
    for number, phase in enumerate(stage.evaluated_on):
        for source in phase.sources:
            if source.corpus in context.data.corpora and stage.tokenizer != (
                cut := context.data.tokenizer_of(source.corpus)
            ):
                yield context.finding(
                    "I-41", name, ("phases", number, "data") if stage.phases else ("evaluate_on", "data"),
                    observed=f"{source.corpus}, cut with tokenizer {cut!r}",
                    expected=f"{stage.tokenizer!r}, the stage's",
                    repair="Name the stage's tokenizer in the corpus's spec and prepare it again, or another corpus.",
                )  # fmt: skip


def _wanted(context: Context, name: str, stage: Stage) -> str | None:
    """What another tokenizer is expected at a stage, None where its own is right. Children of such a stage have its."""
    above = context.parents(stage)
    for ref, parent in above:
        if parent.tokenizer != stage.tokenizer and not _extended(context, stage, ref, parent):
            return f"{parent.tokenizer!r}, as in {ref}"
    if above or of_family(stage, *LANGUAGE_MODELS) is None:
        return None
    if not stage.tokenizer:
        return "the name of a tokenizer"
    base = context.extended.stages.get(name) if context.extended is not None else None
    if base is not None and base.tokenizer != stage.tokenizer and base.modules == stage.modules:
        return f"{base.tokenizer!r}, as {base.pipeline} has it for the same model"
    return None


def _extended(context: Context, stage: Stage, ref: str, parent: Stage) -> bool:
    """Whether the tokenizer extends the parent's, and so does every language model that comes from it."""
    taken = [(name, init) for name, init in stage.init.items() if init.parent == ref]
    models = [init for name, init in taken if stage.modules[name].family in LANGUAGE_MODELS]
    extends = context.data.extended(stage.tokenizer) == parent.tokenizer
    return extends and bool(models) and all(init.extend is not None for init in models)


def _named_elsewhere(context: Context) -> Iterator[Finding]:
    """Once a pipeline, at its line `tokenizer`; between a reading and what it extends, the reading is at fault."""
    mine, where = context.loaded, context.loaded.document.where(("tokenizer",))
    local = context.data.tokenizer.tokenizer if context.data.tokenizer is not None else ""
    named = mine.raw.tokenizer not in ("", local)  # S-04 is about the local one
    if named and context.writes(where):
        others = tuple(one for one in context.others if one.raw.extends != mine.name)
        for observed, expected in (*_vocabularies(mine, others), *_releases(mine, others)):
            yield context.of_pipeline(
                "I-41", "tokenizer", observed=observed, expected=expected,
                repair="Name the right tokenizer here and there, and its vocabulary in the models.", where=where,
            )  # fmt: skip


def _vocabularies(mine: LoadedPipeline, others: tuple[LoadedPipeline, ...]) -> Iterator[tuple[str, str]]:
    """The first other vocabulary under the same tokenizer, in this pipeline or another."""
    own = list(mine.vocabularies.items())
    for pipeline in (mine, *others):
        for model, vocab in pipeline.vocabularies.items() if pipeline.raw.tokenizer == mine.raw.tokenizer else ():
            for my_model, my_vocab in own:
                if max(vocab, my_vocab) > PADDING * min(vocab, my_vocab):
                    yield (
                        f"tokenizer {mine.raw.tokenizer!r} with {my_model} of {my_vocab:,} words",
                        f"the {vocab:,} words of {pipeline.name}'s {model}, which has the same tokenizer",
                    )
                    return


def _releases(mine: LoadedPipeline, others: tuple[LoadedPipeline, ...]) -> Iterator[tuple[str, str]]:
    for pipeline in others:
        for release in sorted(mine.imported & pipeline.imported):
            if pipeline.raw.tokenizer != mine.raw.tokenizer:
                yield (
                    f"tokenizer {mine.raw.tokenizer!r} with release {release!r}",
                    f"{pipeline.raw.tokenizer!r}, with which {pipeline.name} imports it",
                )
                return


@static(
    "S-10",
    title="Those who read the same captions have one vocabulary",
    rule="The text tower and the caption decoder of a stage have the same vocabulary.",
    why="Both are given the same token ids; the larger table has rows that nothing trains, the smaller one is passed.",
    threads=(),
)
def one_vocabulary_of_captions(context: Context) -> Iterator[Finding]:
    """S-10."""
    for name, stage in context.own:
        tower, decoder = of_family(stage, "text_tower"), of_family(stage, "caption_decoder")
        if tower is not None and decoder is not None and tower[1].vocab != decoder[1].vocab:
            yield context.finding(
                "S-10", name, ("modules", decoder[0]), observed=f"{decoder[0]}.vocab: {decoder[1].vocab:,}",
                expected=f"{tower[0]}'s {tower[1].vocab:,}", repair="Correct the model in pipeline.yaml.",
            )  # fmt: skip
