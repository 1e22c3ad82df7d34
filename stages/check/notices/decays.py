"""Weight decays above those of published models: notices, where a finding (I-48) begins at ten times as much."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.notices.rates import multiple, size, written
from stages.check.rules.unused import names_of
from stages.contract.numbers import extremes
from stages.errors import Where
from stages.spec.project import Project
from stages.spec.resolved import Stage

LARGE = 500_000_000  # parameters
# Language models have 0.01 to 0.1, and karpathy/nanochat's matrices 0.28 at most (base_train.py); vision towers have up
# to 0.4 (DINO, arXiv 2104.14294, section 3.2). On few data that are read 8 times and more, 30 times the usual 0.1 is
# best (arXiv 2509.14786).
MOST = Fraction(1, 2)
OFTEN = 4  # epochs


def strong(project: Project, scale: str) -> Iterator[str]:
    """A notice for each optimizer that decays the weights of a large model by more than published ones do."""
    for context in contexts(project, scale):
        seen: set[Where] = set()
        for name, stage in context.own:
            decay, where = _decay(stage), _where(context, name)
            often = bool(stage.phases) and all(phase.epochs >= OFTEN for phase in stage.phases)
            if where is None or where in seen or often or size(stage) < LARGE or decay <= MOST:
                continue
            if context.writes(where):
                seen.add(where)
                yield (
                    f"{where}: {name} trains {written(size(stage))} parameters with a weight decay of "
                    f"{float(decay):g}; published ones have 0.01 to 0.28, and more on few data that are read often "
                    "(arXiv 2509.14786)."
                )


def _decay(stage: Stage) -> Fraction:
    """The highest decay of the language model's matrices, next to the rate that the schedule gives."""
    if stage.optimizer is None:
        return Fraction(0)
    return Fraction(str(extremes(stage.optimizer.weight_decay)[1])) * min(multiple(stage), Fraction(1))


def _where(context: Context, name: str) -> Where | None:
    optimizer = next(names_of(context.loaded.stages[name], "optimizers"), None)
    if optimizer is None:
        return None
    return context.loaded.document.where(("optimizers", optimizer, "weight_decay"))
