"""Two finished runs compared: where they part, by how much, whether they should have, and what they came to."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.report.metrics import StageResult, read
from stages.spec.resolved import Stage
from stages.store import fingerprint

COLUMNS = ("loss", "grad_norm")
CURVE = ("tokens", "lr")  # given by the contract: they part only where specs do


@dataclass(frozen=True)
class Column:
    """One column of metrics.csv. Steps are counted over the whole stage, from 1; None: no step of both differs."""

    name: str
    first: int | None
    largest: float  # absolute
    largest_step: int | None
    relative: float  # to the larger of both magnitudes
    relative_step: int | None


@dataclass(frozen=True)
class Runs:
    """The comparison of run A with run B."""

    folders: tuple[str, str]
    stages: tuple[str, str]
    same_key: bool
    same_data: bool
    same_environment: bool
    environments: tuple[str, str]
    same_weights: bool
    tiers: tuple[str, str]
    steps: tuple[int, int]
    columns: tuple[Column, ...]
    evaluations: dict[str, tuple[float | None, float | None]]

    @property
    def promised(self) -> bool:
        """Whether both runs should be equal bit for bit: same key, same environment, both of the bit-exact tier."""
        return self.same_key and self.same_environment and set(self.tiers) == {"bit-exact"}

    @property
    def equal(self) -> bool:
        """Whether steps, every compared column and the weights are equal."""
        parted = any(column.first is not None for column in self.columns)
        return not parted and self.same_weights and self.steps[0] == self.steps[1]

    @property
    def broken(self) -> bool:
        """Whether a promise of equal bits was not kept."""
        return self.promised and not self.equal


def compare(first: Path, second: Path) -> Runs:
    """Compare the results in two folders. Raises UserError where one is not a finished stage, or is damaged."""
    a, b = read(first), read(second)
    rows = [_rows(result) for result in (a, b)]
    return Runs(
        folders=(str(first), str(second)),
        stages=(a.manifest.stage, b.manifest.stage),
        same_key=a.manifest.key == b.manifest.key,
        same_data=order(a.stage) == order(b.stage),
        same_environment=_environment(a) is not None and _environment(a) == _environment(b),
        environments=(_described(a), _described(b)),
        same_weights=_weights(a) == _weights(b),
        tiers=(a.manifest.tier, b.manifest.tier),
        steps=(len(rows[0]), len(rows[1])),
        columns=tuple(_column(name, *rows) for name in (*COLUMNS, *CURVE)) if all(rows) else (),
        evaluations={name: (a.after.get(name), b.after.get(name)) for name in dict.fromkeys([*a.after, *b.after])},
    )


def order(stage: Stage) -> list[Any]:
    """What decides which samples are read in which order: seed, sources, lengths, mixture; not the batch."""
    fields = ("objective", "budget", "context", "epochs", "packing", "document_mask", "share")
    return [
        stage.seed,
        stage.tokenizer,
        *(
            ([getattr(phase, field) for field in fields], [source.model_dump() for source in phase.sources])
            for phase in stage.phases
        ),
    ]


def _environment(result: StageResult) -> Any:
    return result.run.environment.id


def _described(result: StageResult) -> str:
    return fingerprint.described(result.run.environment.model_dump())


def _weights(result: StageResult) -> dict[str, str]:
    return {shard.file: shard.blake3 for shard in result.manifest.shards if shard.file.startswith("model/")}


def _rows(result: StageResult) -> list[dict[str, str]]:
    """The steps as text: two numbers are equal exactly when their shortest texts are."""
    if result.metrics is None:
        return []
    with (result.folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _column(name: str, a: Sequence[dict[str, str]], b: Sequence[dict[str, str]]) -> Column:
    pairs = [(step, x[name], y[name]) for step, (x, y) in enumerate(zip(a, b, strict=False), 1) if x[name] != y[name]]
    apart = [(step, abs(float(x) - float(y)), _relative(float(x), float(y))) for step, x, y in pairs]
    if not apart:
        return Column(name, None, 0.0, None, 0.0, None)
    largest = max(apart, key=lambda one: one[1])
    relative = max(apart, key=lambda one: one[2])
    return Column(name, apart[0][0], largest[1], largest[0], relative[2], relative[0])


def _relative(x: float, y: float) -> float:
    scale = max(abs(x), abs(y))
    return abs(x - y) / scale if scale and math.isfinite(scale) else 0.0
