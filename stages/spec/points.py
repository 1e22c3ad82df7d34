"""Points of a trunk: `from: stable_2@2.1T` is what stage stable_2 is after exactly 2.1T of its tokens.

A point is a stage of the pipeline like any other, which no file describes: the trunk with its budget cut at that count.
So its key covers what the trunk depends on up to there, and nothing that comes later. Its result is made from a
checkpoint that the trunk keeps because the point is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.errors import SpecError
from stages.spec import quantities, units
from stages.spec.nodes import Document, Path
from stages.spec.schema.edges import AT
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.stages import RawEvaluate, RawExport, RawKeep, RawMerge, RawStage, RawTrain, RawUpcycle

ALL = "*"


@dataclass(frozen=True)
class Point:
    """A stage, and how many ledger units of it are consumed, over all its phases, at full size."""

    trunk: str
    at: int

    @property
    def name(self) -> str:
        """The stage that it is: one name for one count, however that is written."""
        return f"{self.trunk}_at_{units.format_tokens(self.at).lower().replace('.', '_')}"


class RawPoint(RawTrain):
    """A trunk as it is written, its phases cut at full size. No file contains one."""

    trunk: str
    at: int


def read(text: str) -> Point | None:
    """What a name in `from` means: None where it is a stage's own. Raises BadQuantity for what is no count."""
    trunk, sign, count = text.partition(AT)
    return Point(trunk, units.tokens(count)) if sign else None


def stage_name(text: str) -> str:
    """The stage that a name in `from` stands for; one that cannot be read stands for itself."""
    try:
        point = read(text)
    except quantities.BadQuantity:
        return text
    return text if point is None else point.name


def origins(raw: RawStage) -> Iterator[tuple[Path, str]]:
    """What a stage starts from, as it is written, and where."""
    if isinstance(raw, (RawKeep, RawExport)):
        yield ("init", "from"), raw.init.from_
    elif isinstance(raw, RawMerge):
        for number, text in enumerate(raw.init.from_):
            yield ("init", "from", number), text
    elif isinstance(raw, (RawTrain, RawUpcycle)) and not isinstance(raw, RawPoint):
        for module, text in raw.init.from_.items():
            yield ("init", "from") if module == ALL else ("init", "from", module), text


def starts_from(raw: RawStage) -> set[str]:
    """The stages that one starts from; of a point, its trunk."""
    return {text.partition(AT)[0] for _, text in origins(raw)}


def cut(point: Point, trunk: RawTrain, document: Document, path: Path) -> RawPoint:
    """The trunk up to a point. Raises SpecError at `path` of `document` unless a step of it ends exactly there."""
    if any(isinstance(phase.budget, units.Epochs) for phase in trunk.phases):
        raise document.error(
            path, f"a point of {point.trunk}, whose budget is in epochs", "points of stages with budgets in tokens",
            f"Write the budget of {point.trunk} in tokens.",
        )  # fmt: skip
    total, done = sum(phase.size for phase in trunk.phases), 0
    for number, phase in enumerate(trunk.phases):
        if point.at <= done + phase.size:
            below, above = borders(ramp(phase), phase.size, point.at - done)
            if below != above:
                raise _off(point, document, path, [done + one for one in (below, above) if done + one], phase)
            phases = [*trunk.phases[:number], phase.model_copy(update={"budget": point.at - done})]
            updates = {
                "stage": point.name, "box": f"{trunk.box}, at {units.format_tokens(point.at)}", "phases": phases,
                "evaluate": RawEvaluate(), "waivers": [], "sources": [],
            }  # fmt: skip
            return RawPoint.model_construct(**{**dict(trunk), **updates}, trunk=point.trunk, at=point.at)
        done += phase.size
    raise document.error(
        path, f"{point.at:,}, and {point.trunk} ends after {total:,}",
        f"counts up to {units.format_tokens(total)}, its budget", f"Write `{point.trunk}` for its end.",
    )  # fmt: skip


def _off(point: Point, document: Document, path: Path, near: Sequence[int], phase: RawPhase) -> SpecError:
    """No step ends there: the nearest that do."""
    written = [f"{point.trunk}{AT}{units.format_tokens(one)} ({one:,})" for one in near]
    return document.error(
        path, f"{point.at:,} {phase.unit} of {point.trunk}, where none of its steps ends",
        f"a step's end; the nearest: {' or '.join(written)}", "Write one of them: a checkpoint is of whole steps.",
    )  # fmt: skip


def ramp(phase: RawPhase) -> list[tuple[int, int]]:
    """From which unit of a phase on a step has how many units, at full size."""
    return [(step.after, step.batch * phase.context) for step in phase.batch]


def borders(ramp: Sequence[tuple[int, int]], budget: int, at: int) -> tuple[int, int]:
    """The last step border of a phase at or before `at`, and the first at or after it; 0 and the budget are borders.

    `ramp` is as of `ramp()`: a size applies from the first border at or past its threshold on.
    """
    start = 0
    for (_, size), end in zip(ramp, [*(after for after, _ in ramp[1:]), budget], strict=True):
        stop = min(start + max(0, -(-(min(end, budget) - start) // size)) * size, budget)
        if at < stop:
            below = start + (at - start) // size * size
            return below, at if below == at else min(below + size, budget)
        start = stop
    return budget, budget
