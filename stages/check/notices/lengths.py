"""Rows that grow while the corpora stay those of short rows: whether their documents are as long is not known here; and
budgets that end a little before their schedule.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.notices.rates import BILLION, size, written
from stages.check.rules.horizon import place
from stages.spec.graph import reached
from stages.spec.project import Project
from stages.spec.resolved import Stage

LONG = 16 * 1024  # tokens; many documents of the web's best corpora have some thousands
NEAR = 20  # part of a schedule: 1Mi is 4.9% more than 1M
SHORTEST = 512  # tokens of a row: Stanford Alpaca's 7B; others have 1,024 and more
TIMES = 4  # a lineage's corpora serve rows of twice their usual length


def as_before(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage of a longer context that reads nothing but published corpora of short rows."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            longest = stage.longest
            if longest < LONG or not _grows(context, stage):
                continue
            known = _read(context, name)
            for number, phase in enumerate(stage.phases):
                corpora = [one.corpus for one in context.mixture(name, number)]
                shorter = [known[one] for one in corpora if one in known and known[one] * TIMES <= phase.context]
                where, rows = context.where(name, "phases", number, "data"), f"rows of {longest:,} tokens"
                grown = phase.context == longest and context.writes(where)
                if grown and corpora and len(shorter) == len(corpora):
                    yield (
                        f"{where}: {name} reads {rows} from corpora that its lineage has read in rows of "
                        f"{max(shorter):,} at most: {', '.join(corpora)}. Whether they have documents that long is not "
                        "known here."
                    )


def cut_short(project: Project, scale: str) -> Iterator[str]:
    """A notice for each lineage that ends a little before the constant piece does that it is in: K for Ki, or M for Mi.

    Long before it, the piece is one that branches leave where they like.
    """
    for context in contexts(project, scale):
        extents = context.pipeline.extents
        goes_on = {extent.after for extent in extents.values()}
        for name, extent in ((name, extents[name]) for name, _ in context.own if name in extents):
            last, left = extent.laid[-1], extent.laid[-1].end - extent.end
            where, near = place(context, extent.schedule, len(extent.laid) - 1), 0 < left * NEAR <= extent.end
            constant = last.shape == "constant" and not extent.left and name not in goes_on
            if constant and near and context.writes(where):
                meant = "`until` in place of `for`" if last.end - last.start == extent.end else "K for Ki, M for Mi"
                yield (
                    f"{where}: {name} ends at {extent.end:,} of schedule {extent.schedule!r}, and the schedule at "
                    f"{last.end:,}: {meant}?"
                )


def short_rows(project: Project, scale: str) -> Iterator[str]:
    """A notice for each phase that trains a large language model on rows of less than SHORTEST tokens."""
    for context in contexts(project, scale):
        for name, stage, number, phase in context.phases():
            if phase.unit != "tokens" or phase.context >= SHORTEST or size(stage) < BILLION:
                continue
            where = context.where(name, "phases", number, "context")
            if context.writes(where):
                yield (
                    f"{where}: {name} trains {written(size(stage))} parameters on rows of {phase.context:,} tokens; "
                    f"recipes have {SHORTEST} and more: is Ki missing?"
                )


def _read(context: Context, name: str) -> dict[str, int]:
    """The longest rows in which the stages above have read each published corpus, where no context grew.

    What a lineage reads for the first time where its context grows is taken for long.
    """
    start = context.pipeline.refs[name]
    lineage = reached([start], lambda ref: [one for one in context.by_ref[ref].parents if one in context.by_ref])
    found: dict[str, int] = {}
    for stage in (context.by_ref[ref] for ref in lineage[1:]):
        for number, phase in enumerate(stage.phases if stage.name in context.loaded.stages else ()):
            for source in context.mixture(stage.name, number) if not _grows(context, stage) else ():
                if source.corpus not in context.data.corpora:
                    found[source.corpus] = max(found.get(source.corpus, 0), phase.context)
    return found


def _grows(context: Context, stage: Stage) -> bool:
    """Whether a stage reads longer rows than those above it."""
    old = max((above.max_context for _, above in context.parents(stage)), default=None)
    return old is not None and stage.longest > old
