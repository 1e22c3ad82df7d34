"""Evaluations on the GPU: each that a spec may name is computed there, and its numbers are the CPU's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stages import evals
from stages.evals.heldout import Heldout
from stages.evals.run import COMPUTED
from stages.models.build import build
from stages.spec.resolved import Stage
from stages.train.determinism import deterministic
from tests.cuda import stages
from tests.rounding import BF16, noise
from tests.unit.evals.stages_by_hand import COCA, JOINT, LLAMA, OURO, phase, preferring, stage
from tests.unit.train import tiny

LOSS = re.compile("loss|by_corpus|loops/|within|beyond|gain|contrastive|caption|margin")
TURNS = re.compile("accuracy|well_formed|exact|_to_")
EXPERTS = tiny.MOONLIGHT.model_copy(update={"vocab": LLAMA.vocab})
CASES = {
    "text": stage({"llm": LLAMA}, ("validation_loss", "position_loss", "needle"), phase("text"), old=32),
    "loops": stage({"llm": OURO}, ("validation_loss", "loops", "position_loss"), phase("text", loops=2)),
    "experts": stage({"llm": EXPERTS}, ("validation_loss", "position_loss"), phase("text")),
    "conversations": stage({"llm": LLAMA}, ("validation_loss", "answers"), phase("chats", objective="sft")),
    "pictures": stage(JOINT, ("validation_loss", "digit_questions"), phase("text", "questions", objective="joint")),
    "pairs": stage(COCA, ("validation_loss", "zero_shot", "retrieval"), phase("pairs", objective="coca"), samples=9),
    "preferences": preferring("mean"),
}


def numbers(found: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number of nested results, by its path."""
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from numbers(value, f"{path}/{key}")
    elif isinstance(found, int | float):
        yield path, float(found)


def evaluated(of: Stage, modules: nn.ModuleDict, root: Path) -> dict[str, float]:
    with deterministic(of.execution):
        return dict(numbers(evals.run(evals.Whole(of, modules), of, Heldout(root))))


def test_every_evaluation_is_among_the_cases() -> None:
    assert {name for of in CASES.values() for name in of.evaluation.names} == set(COMPUTED)


@pytest.mark.parametrize("precision", ["torch-fp32", "torch-bf16"])
@pytest.mark.parametrize("case", CASES)
def test_evaluations_are_the_cpus(
    case: str, precision: stages.Precision, device: torch.device, data_root: Path
) -> None:
    """Losses as far as rounding explains; shares may turn where two answers are as likely; the rest is equal."""
    there, here = stages.on(CASES[case], device, precision), stages.on(CASES[case], torch.device("cpu"))
    modules = build(here, "cpu")
    found, plain = (
        evaluated(of, made, data_root) for of, made in ((there, build(there, str(device))), (here, modules))
    )
    assert found.keys() == plain.keys()
    losses = [path for path in plain if LOSS.search(path)]
    loss = plain.get("/validation/loss", math.log(LLAMA.vocab))  # of a token: differences of losses are as exact
    if precision == "torch-fp32":
        allowed = {path: 1e-5 * (loss if re.search("gain|margin", path) else abs(plain[path])) for path in losses}
    else:  # a product's factors and result are rounded: as far as weights that are rounded four times move them
        moved = noise(
            modules, lambda: torch.tensor([evaluated(here, modules, data_root)[path] for path in losses]), 4, BF16
        )
        assert moved < 0.01 * loss, "a bound that a wrong loss would meet"
        allowed = dict.fromkeys(losses, 2 * moved)
    allowed |= {path: 0.0 for path in plain if not LOSS.search(path) and not TURNS.search(path)}
    off = {path: (found[path], plain[path]) for path in allowed if not abs(found[path] - plain[path]) <= allowed[path]}
    assert not off, f"the device's and the CPU's: {off}"
    assert all(0 <= found[path] <= 1 for path in found if TURNS.search(path)), found
