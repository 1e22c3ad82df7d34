"""At the bounds of its domain, every real number of a model and an optimizer trains, or the run says what overflowed.

The numbers are found from the resolved classes: a new field is tried without a word here.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union

import pytest

from stages.engines import run
from stages.spec.domain import Domain
from stages.spec.frozen import Frozen
from stages.spec.mapping import types
from stages.spec.resolved import Stage
from stages.store import manifest
from stages.train.stopping import NonFiniteError
from tests.unit.train import tiny

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("made_up_data")]
OPTIMIZERS: dict[str, Any] = {"adamw": tiny.ADAMW, "muon": tiny.MUON}


def bounds(resolved: Frozen) -> Iterator[tuple[str, float | None]]:
    """(field, value) for both ends of every real number; where an end is not in the domain, its example is."""
    for name, annotation in types(type(resolved)).items():
        domain = _domain(annotation)
        if domain is not None and not domain.form.whole and isinstance(getattr(resolved, name), float):
            texts = [domain.least or domain.example, domain.most or domain.example, domain.word]
            for value in dict.fromkeys(domain(text) for text in texts if text is not None):
                yield name, None if value is None else float(value)


def _domain(annotation: Any) -> Domain | None:
    if typing.get_origin(annotation) in (Union, UnionType, Annotated):
        found = (one if isinstance(one, Domain) else _domain(one) for one in typing.get_args(annotation))
        return next((one for one in found if one is not None), None)
    return None


def two_steps(stage: Stage, **changes: Any) -> Stage:
    """The stage cut to two steps."""
    phase = stage.phases[0].model_copy(update={"budget": 8 * tiny.CONTEXT})
    return stage.model_copy(update={"phases": (phase,), "schedule": tiny.schedule(phase.budget), **changes})


def trains(stage: Stage, root: Path, value: float | None) -> None:
    with suppress(NonFiniteError):
        run(stage, tiny.inputs(root))
        assert manifest.read(root / "results/mini/tiny/box/manifest.json").counters["steps"] == 2, value


CASES = [(kind, *one) for kind, cfg in OPTIMIZERS.items() for one in bounds(cfg)]


@pytest.mark.parametrize(("kind", "field", "value"), CASES)
def test_an_optimizer_takes_two_steps(kind: str, field: str, value: float | None, tmp_path: Path) -> None:
    optimizer = OPTIMIZERS[kind].model_copy(update={field: value})
    trains(two_steps(tiny.make("next_token"), optimizer=optimizer), tmp_path, value)


MODULES = [
    (objective, module, *one)
    for objective, modules in (
        ("next_token", ("llm",)),
        ("looped", ("llm",)),
        ("joint", ("llm", "vit", "projector")),
        ("coca", ("vit", "text_tower", "decoder", "contrastive")),
    )
    for module in modules
    for one in bounds(tiny.make(objective).modules[module])
]


@pytest.mark.parametrize(("objective", "module", "field", "value"), MODULES)
def test_a_model_is_built_and_takes_two_steps(
    objective: str, module: str, field: str, value: float, tmp_path: Path
) -> None:
    stage = tiny.make(objective)
    modules = {**stage.modules, module: stage.modules[module].model_copy(update={field: value})}
    trains(two_steps(stage, modules=modules), tmp_path, value)
