"""What phases do not read of their local corpora, and might: by epochs that are not needed, by rows that are short; and
epochs that no recipe has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from stages.check.notices.full_size import contexts
from stages.errors import InvalidSpecs
from stages.spec.project import Project
from stages.spec.resolved_phases import Phase, both_answers
from stages.spec.resolved_pipeline import ResolvedPipeline
from stages.spec.schema.corpora import RawCorpus

LOST = 1 / 4  # of a corpus's tokens: recipes filter a few of a hundred by their length
# Muennighoff et al. (arXiv 2305.16264): 4 epochs are nearly as good as new text, 16 are the last that help. Fine-tuning
# on answers has had 16 (arXiv 2203.02155), 15 on 1,000 of them (2305.11206).
OFTEN = 16
PAIRS = 5  # epochs of preferences: Zephyr (arXiv 2310.16944) and others have 1 to 3
MANY = 10  # times what is needed: a digit more. Fewer may leave tokens for what later stages of a lineage read


def needless(project: Project, scale: str) -> Iterator[str]:
    """A notice for phases with MANY times the epochs that what is left of their corpora asks for.

    A scale may state one number for all stages of a pipeline: it is right where one of them asks for it.
    """
    for resolved in _resolved(project, scale):
        declared: dict[int, list[tuple[int, str, int]]] = {}  # by epochs: how many would do, and of which phase
        for own, number, phase in _phases(resolved):
            if (enough := _enough(project, phase)) is not None:
                declared.setdefault(phase.epochs, []).append((enough, own, number))
        for epochs, phases in declared.items():
            enough, own, number = max(phases)
            if epochs >= MANY * enough:
                yield (
                    f"{resolved.where(own, 'phases', number, 'epochs')}: {scale}: {resolved.refs[own]} reads a stretch "
                    f"of its corpora {epochs} times, where {enough} epoch{'s' * (enough > 1)} would do: the rest of "
                    "them is not read."
                )


def often(project: Project, scale: str) -> Iterator[str]:
    """A notice for phases at full size that read published corpora more often than any published recipe does."""
    for context in contexts(project, scale):
        for name, _, number, phase in context.phases():
            most, recipes = (PAIRS, "1 to 3") if phase.objective == "preference" else (OFTEN, "1 to 5, few 15")
            where, local = context.where(name, "phases", number, "epochs"), project.data.corpora
            if phase.epochs > most and context.writes(where) and not any(one.corpus in local for one in phase.sources):
                yield f"{where}: {name} reads its corpora {phase.epochs} times; recipes have {recipes}."


def left_out(project: Project, scale: str) -> Iterator[str]:
    """A notice for each corpus of whole documents of which a large part is longer than the phase's context."""
    for resolved in _resolved(project, scale):
        for own, number, phase in _phases(resolved):
            for source in phase.sources if phase.unit == "tokens" else ():
                corpus = project.data.corpora.get(source.corpus)
                if corpus is None or not phase.whole(source.kind) or not (longer := lost(corpus, phase.context)):
                    continue
                where = resolved.where(own, "phases", number, "context")
                rows = f"{resolved.refs[own]} packs whole documents into rows of {phase.context:,} tokens"
                yield f"{where}: {scale}: {rows}, and {longer}{both_answers(source.kind)}."


def lost(corpus: RawCorpus, context: int) -> str:
    """What of a corpus fits into no row, if it is much; where it was not measured, by the mean length."""
    known = corpus.packed.get(context)
    if known is not None:
        share = 1 - known.tokens / corpus.size
        return f"{share:.0%} of {corpus.corpus} is in longer ones, which are not read" if share > LOST else ""
    if corpus.documents and (mean := corpus.size / corpus.documents) > context:
        return f"a document of {corpus.corpus} has {mean:,.0f} tokens on average; longer ones than a row are not read"
    return ""


def _resolved(project: Project, scale: str) -> Iterator[ResolvedPipeline]:
    """The pipelines at a scale, except for one that differs from another in its seeds alone."""
    for name in project.pipelines(variants=True):
        with suppress(InvalidSpecs):  # which are findings
            if project.has(name, scale) and project.reseeds(name, scale) is None:
                yield project.resolve(name, scale)


def _phases(resolved: ResolvedPipeline) -> Iterator[tuple[str, int, Phase]]:
    for own in resolved.own:
        yield from ((own, number, phase) for number, phase in enumerate(resolved.stages[own].phases))


def _enough(project: Project, phase: Phase) -> int | None:
    """The epochs with which a phase would read all that is left of a corpus, None where no size is known."""
    known = [(source, project.data.corpora.get(source.corpus)) for source in phase.sources]
    left = [(source.end - source.start, one.size - source.start) for source, one in known if one is not None]
    if phase.epochs < MANY or not left or any(there <= 0 for _, there in left):
        return None
    return max(-(-phase.epochs * read // there) for read, there in left)
