"""What a prepared corpus leaves out of its files, and why, a line for each: as its manifest has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.data.corpus import offsets
from stages.data.corpus.corpus_manifest import DataManifest, read_manifest
from stages.data.corpus.prepared import Corpus
from stages.data.tokens import unknown
from stages.errors import UserError
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import both_answers
from stages.store.manifest import NAME as MANIFEST

SHOWN = 5  # rows that were left out; the manifest has all


def lines(made: DataManifest) -> Iterator[str]:
    """Adopted files, documents and tokens that others have, rows that could not be used."""
    if (adopted := made.adopted) is not None:
        documents = made.documents + made.heldout
        yield (
            f"adopted {len(adopted.datasets)} datasets; of {documents} documents {adopted.begin} begin with the "
            f"tokenizer's bos, {adopted.end} end with its eos; {adopted.empty} empty ones are left out"
        )
    yield from _documents(made)
    if made.inputs is None:
        return
    for one in made.inputs.skipped[:SHOWN]:
        yield f"left out {one.file}:{one.line}: {one.why}"
    if len(made.inputs.skipped) > SHOWN:
        yield f"and {len(made.inputs.skipped) - SHOWN} more, all in its manifest.json"


def of_prepared(refs: Iterable[str], data: Path) -> Iterator[str]:
    """For `stages status`: of prepared corpora, the documents that are left out or have evaluations' text."""
    for ref in refs:
        yield from (f"{ref}: {line}" for line in _documents(read_manifest(data / ref.removeprefix("data/"))))


def of_planned(stages: Iterable[Stage], data: Path) -> Iterator[str]:
    """For `stages plan`: of corpora that are prepared as stages read them, all that is not trained on, and why."""
    contexts: dict[tuple[str, str], dict[int, list[str]]] = {}
    for stage in stages:
        for phase in stage.phases:
            for source in phase.sources:
                read = contexts.setdefault((source.corpus, source.digest), {})
                if phase.whole(source.kind):
                    read.setdefault(phase.context, []).append(stage.ref)
    for (name, digest), read in contexts.items():
        try:
            if (data / name / MANIFEST).is_file() and (made := read_manifest(data / name)).digest == digest:
                yield from (f"{name}: {line}" for line in _untrained(made, data / name, read))
        except UserError as error:
            yield f"{name}: {error}"


def _untrained(made: DataManifest, folder: Path, contexts: dict[int, list[str]]) -> Iterator[str]:
    if made.inputs is not None or made.adopted is not None:
        yield f"{made.heldout} documents are held out, {made.documents} are for training"
        yield from _documents(made)
    if made.adopted is not None and made.adopted.empty:
        yield f"left out {made.adopted.empty} empty documents"
    if made.inputs is not None and made.inputs.skipped:
        yield f"left out {len(made.inputs.skipped)} rows that could not be used"
    for context, refs in sorted(contexts.items()):
        if made.longest > context:
            blocks = offsets.length_blocks(Corpus(folder).offsets, made.documents)
            long = [one[one > context] for one in blocks]
            documents, tokens = sum(map(len, long)), sum(int(one.sum()) for one in long)
            if documents:
                yield (
                    f"{documents} documents, {tokens} tokens, are longer than the context of {context} and left "
                    f"out by {', '.join(dict.fromkeys(refs))}{both_answers(made.kind)}"
                )


def _documents(made: DataManifest) -> Iterator[str]:
    if (lost := made.unknown) is not None:
        yield f"{unknown.shown(lost)}: the tokenizer has no token for what stands there, and a model learns this one"
    inputs = made.inputs
    if inputs is None:
        return
    if (separate := inputs.separate) is not None:
        yield (
            f"each answer of {separate.conversations} conversations is a document, and learned once; "
            f"{separate.repeated} tokens are in documents that a longer one of the same conversation repeats"
        )
    if inputs.duplicates:
        yield f"left out {inputs.duplicates} documents that say what another one does"
    for other, left in (inputs.without or {}).items():
        yield f"left out {left.documents} documents, {left.tokens} tokens, that {other} has"
    for other, matched in (inputs.decontaminated or {}).items():
        yield (
            f"{matched.documents} documents, {matched.tokens} tokens, with text of {other}; {matched.short} of its "
            f"{matched.of} documents are shorter than an n-gram"
        )
