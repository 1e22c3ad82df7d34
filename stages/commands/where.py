"""`stages where CORPUS DOC`: every step of every stage that reads a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from stages.commands.find_project import open_project, stages_at, unknown
from stages.data.corpus.prepared import Corpus
from stages.errors import UsageError
from stages.forensics.where import Read, Unread, where
from stages.printable import print_json
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store.layout import Layout


def print_where(name: str, number: int, pipeline: str | None, scale: str, as_json: bool) -> None:
    """Print where a document (its number from 1) is read. Raises UsageError for what is not there."""
    root, project = open_project(scale)
    stages, folder = _stages(project, pipeline, scale), Layout(root, scale).corpus(name)
    if name not in project.data.corpora:
        raise unknown("corpus", name, sorted(project.data.corpora))
    corpus = Corpus(folder)
    if not 1 <= number <= corpus.documents:
        raise UsageError(f"{name}: found document {number:,}; allowed: 1 to {corpus.documents:,}.")
    found = list(where(stages, name, number - 1, folder.parent))
    if as_json:
        reads, others = ([asdict(one) for one in found if isinstance(one, kind)] for kind in (Read, Unread))
        print_json({"corpus": name, "document": number, "reads": reads, "unread": others})
        return
    for line in _lines(corpus, number, found, pipeline):
        print(line)


def _stages(project: Project, pipeline: str | None, scale: str) -> list[Stage]:
    """The stages of a pipeline, or of all that have rules of their own."""
    if pipeline is not None:
        return list(stages_at(project, pipeline, scale).values())
    resolved, unreadable = project.resolve_all(scale)
    for error in unreadable.values():
        raise error
    return [one.stages[name] for one in resolved.values() for name in one.own]


def _lines(corpus: Corpus, number: int, found: list[Read | Unread], pipeline: str | None) -> Iterator[str]:
    length = int(corpus.offsets[number] - corpus.offsets[number - 1])
    heldout = ", held out: evaluated on, never trained on" if number > corpus.training_documents else ""
    yield f"{corpus.name}, document {number:,} of {corpus.documents:,}: {length:,} tokens{heldout}"
    reads = [one for one in found if isinstance(one, Read)]
    for one in reads:
        yield (
            f"  {one.stage}, phase {one.phase}, step {one.step:,}, row {one.row:,}: "
            f"{_what(corpus, one, length)}, epoch {one.epoch}"
        )
    if not reads:
        yield f"  read by no step of {pipeline or 'any pipeline'}"
    unread = not heldout and (pipeline is not None or not reads)
    for other in found if unread else ():
        if isinstance(other, Unread):
            yield f"  not by {other.stage}, phase {other.phase}: {other.why}"


def _what(corpus: Corpus, read: Read, length: int) -> str:
    if corpus.manifest.kind == "pairs":
        return "the pair"
    return "all of it" if (read.start, read.end) == (0, length) else f"tokens {read.start:,} to {read.end:,}"
