"""A second reading in the order of the first: both stages have the same seed, and the order follows from it alone."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.notices.full_size import contexts
from stages.check.rules.rereads import rereads
from stages.spec.project import Project
from stages.spec.resolved_phases import Phase


def the_same(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage with `reread` whose phase reads the rows of an ancestor's phase in the same order."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            if stage.data != "restart":
                continue
            for again in rereads(context, name, stage):
                above, mine = context.by_ref[again.who], _order(stage.phases[again.number])
                if above.seed == stage.seed and mine in map(_order, above.phases):
                    yield (
                        f"{context.where(name, 'init')}: {name} reads what {again.who} has read in the same order, "
                        "since both have the same seed; `seed: ...` in one of them gives it another."
                    )
                    break


def _order(phase: Phase) -> tuple[object, ...]:
    """What a phase reads and its order follow from beside the seed (`scope` of data/loading/readers.py); its shape."""
    stretches = [(one.corpus, one.start, one.end, one.group, one.weight) for one in phase.sources]
    return stretches, phase.context, phase.packing, phase.objective
