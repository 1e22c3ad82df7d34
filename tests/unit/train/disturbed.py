"""A stage on several ranks, of which the second one is disturbed before it trains."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.engines import Inputs, torch_engine, training
from stages.spec.resolved import Stage
from tests.nemo.engines import call
from tests.nemo.ranks import RankError
from tests.unit.train import ranked, tiny

BOX = "tiny/box"
Disturb = Callable[[], None]


def nothing() -> None:
    """Ranks as they should be."""


def second() -> bool:
    return os.environ["RANK"] == "1"


def run_one(stage: Stage, given: Inputs, disturb: Disturb, other: Callable[[Stage], Stage]) -> None:
    training.PhaseData = tiny.Data  # type: ignore[misc, assignment]
    disturb()
    torch_engine.run(other(stage) if second() else stage, given)


def train(
    root: Path,
    disturb: Disturb,
    objective: str = "next_token",
    size: int = 2,
    other: Callable[[Stage], Stage] = lambda one: one,
) -> None:
    call(size, run_one, ranked.make(objective, size), tiny.inputs(root), disturb, other)


def refused(root: Path, disturb: Disturb, said: str, objective: str = "next_token", **how: Any) -> None:
    """Every rank says it, and there is no result."""
    size = how.get("size", 2)
    with pytest.raises(RankError) as caught:
        train(root, disturb, objective, **how)
    assert str(caught.value).count(said) == size, caught.value
    assert not tiny.inputs(root).layout.manifest(BOX).exists()
