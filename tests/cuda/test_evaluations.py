"""Evaluations on the GPU: each that a spec may name is computed there, and the losses are the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import evals
from stages.data.heldout import Heldout
from stages.evals.run import COMPUTED
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.train.determinism import deterministic
from tests.cuda import stages
from tests.unit.evals.stages_by_hand import COCA, JOINT, LLAMA, OURO, phase, stage
from tests.unit.train import tiny

EXPERTS = tiny.MOONLIGHT.model_copy(update={"vocab": LLAMA.vocab})
CASES = {
    "text": stage({"llm": LLAMA}, ("validation_loss", "position_loss", "needle"), phase("text"), old=32),
    "loops": stage({"llm": OURO}, ("validation_loss", "loops", "position_loss"), phase("text", loops=2)),
    "experts": stage({"llm": EXPERTS}, ("validation_loss", "position_loss"), phase("text")),
    "conversations": stage({"llm": LLAMA}, ("validation_loss", "answers"), phase("chats", objective="sft")),
    "pictures": stage(JOINT, ("validation_loss", "digit_questions"), phase("text", "questions", objective="joint")),
    "pairs": stage(COCA, ("validation_loss", "zero_shot", "retrieval"), phase("pairs", objective="coca"), samples=9),
}


def numbers(found: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested results, by its path."""
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from numbers(value, f"{path}/{key}")
    elif isinstance(found, int | float):
        yield path, float(found)


def evaluated(of: Stage, device: torch.device, root: Path) -> dict[str, float]:
    with deterministic(of.execution):
        return dict(numbers(evals.run(build(of, str(device)), of, Heldout(root))))


def test_every_evaluation_is_among_the_cases() -> None:
    assert {name for of in CASES.values() for name in of.evaluation.names} == set(COMPUTED)


@pytest.mark.parametrize("precision", ["torch-fp32", "torch-bf16"])
@pytest.mark.parametrize("case", CASES)
def test_evaluations_are_the_cpus(
    case: str, precision: stages.Precision, device: torch.device, data_root: Path
) -> None:
    """Losses in fp32 to 1e-5; shares of right answers may turn where two answers are as likely. In bf16: finite."""
    found = evaluated(stages.on(CASES[case], device, precision), device, data_root)
    plain = evaluated(stages.on(CASES[case], torch.device("cpu")), torch.device("cpu"), data_root)
    assert found.keys() == plain.keys()
    assert all(abs(value) < float("inf") for value in found.values()), found
    off = {path: (found[path], plain[path]) for path in found if "loss" in path and far(found[path], plain[path], 1e-5)}
    if precision == "torch-fp32":
        assert not off, f"the device's and the CPU's: {off}"


def far(one: float, other: float, allowed: float) -> bool:
    return abs(one - other) > allowed * abs(other)
