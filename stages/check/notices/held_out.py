"""What is evaluated on: corpora of which hardly anything is held out, or most; releases that are evaluated in another
way than what is trained from them.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.errors import Where
from stages.spec import points
from stages.spec.loader import LoadedPipeline
from stages.spec.project import Project
from stages.spec.schema.stages import RawImport, RawTrain

FEWEST = 300  # documents: of fewer, chance may hold out any number
LEAST, MOST = 0.01, 0.12  # of all: 4% of origins are, of pictures of digits 10%


def few_or_many(project: Project) -> Iterator[str]:
    """A notice for each corpus whose held-out documents are far from the share that is held out."""
    for name, corpus in project.readable_corpora.items():
        whole = corpus.documents + corpus.heldout
        if whole >= FEWEST and not LEAST <= corpus.heldout / whole <= MOST:
            where = _where(project, name, "heldout")
            yield (
                f"{where}: {corpus.heldout:,} of {whole:,} documents of {name} are held out, "
                f"{corpus.heldout / whole:.1%}; a preparation holds out 4% of their origins."
            )


def read_twice(project: Project) -> Iterator[str]:
    """A notice for each file that two corpora read alike: what a lineage has read is known by the corpus's name."""
    known: dict[tuple[object, ...], str] = {}
    for name, corpus in project.readable_corpora.items():
        key, given = ("prefix", corpus.prefix) if corpus.path is None else ("path", corpus.path)
        paths = (given,) if isinstance(given, str) else given or ()
        before = corpus.prefix if key == "path" else None
        read_as = (key, corpus.root, corpus.tokenizer, before, *sorted((corpus.columns or {}).items()))
        for path in paths:
            other = known.setdefault((path, *read_as), name)
            if other != name:
                where = _where(project, name, key)
                yield f"{where}: {name} reads {path}, and so does {other}: whoever reads both reads it twice."


def _where(project: Project, corpus: str, key: str) -> Where:
    return project.files.entry("data", corpus).where((key,))


def otherwise(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each release that is evaluated on shorter rows than it knows, or where documents see each other."""
    for name, stage in loaded.stages.items():
        if not isinstance(stage.raw, RawImport) or (on := stage.raw.evaluate_on) is None:
            continue
        if on.context < stage.raw.max_context:
            where, known = stage.document.where(("evaluate_on", "context")), f"{stage.raw.max_context:,}"
            yield f"{where}: {name} is evaluated on rows of {on.context:,}, and knows {known} (`max_context`)."
        below = [one.raw for one in loaded.stages.values() if name in points.starts_from(one.raw)]
        masks = {phase.document_mask for raw in below if isinstance(raw, RawTrain) for phase in raw.phases}
        if masks == {not on.document_mask}:
            where = stage.document.where(("evaluate_on", "document_mask"))
            yield f"{where}: {name} is evaluated with document_mask other than what is trained from it."
