"""Stages whose evaluations read real held-out corpora, on one rank of a layout and on the torch engine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from stages import evals
from stages.engines.torch_trainer import TorchTrainer
from stages.evals.heldout import Heldout
from stages.spec.resolved import Evaluation, Stage
from stages.spec.resolved_models import Model, Rope
from stages.spec.resolved_phases import Loops, Router, Source
from stages.train.determinism import denormals_flushed, deterministic
from stages.train.ranks import ALONE
from tests.unit.evals.stages_by_hand import VOCAB
from tests.unit.train import tiny

CONTEXT, OLD = 160, 80
SHAPE = {"layers": 4, "hidden": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "head_dim": 8}
ENDS = {"vocab": VOCAB, "init_std": 0.2}  # weights under which attention depends on places
ROUNDING = 2.0**-24  # of fp32: one rounding of every weight changes numbers as much as the roundings of one engine do
ELSEWHERE = Rope(base=500.0, llama3=None, interpolation=4.0)  # a parent's
TEXT = ("validation_loss", "position_loss", "needle", "answers")


def llama(**changes: Any) -> Stage:
    return _stage({"llm": tiny.LLAMA.model_copy(update=SHAPE | ENDS | changes)}, "next_token", ("text", "chats"), TEXT)


def ouro() -> Stage:
    cfg = tiny.OURO.model_copy(update=SHAPE | ENDS | {"layers": 2})
    return _stage({"llm": cfg}, "looped", ("text", "chats"), (*TEXT, "loops"), loops=Loops(count=3, beta=0.1))


def pairs() -> Stage:
    cfg = tiny.LLAMA.model_copy(update=SHAPE | ENDS)
    told = {"packing": "whole", "preference": tiny.PREFERENCE}
    return _stage({"llm": cfg}, "preference", ("preferences",), ("preferences",), **told)


def joint() -> Stage:
    cfg = tiny.MOONLIGHT.model_copy(update={"layers": 4, "hidden": 32, "ffn": 48, "heads": 4} | ENDS)
    vit = tiny.VIT.model_copy(update={"channels": 3})
    modules: dict[str, Model] = {
        "llm": cfg, "vit": vit, "projector": tiny.PROJECTOR.model_copy(update={"llm_hidden": 32})
    }  # fmt: skip
    names = ("validation_loss", "position_loss", "needle", "digit_questions")
    return _stage(modules, "joint", ("text", "questions"), names, router=Router(bias_update=1e-3, aux_loss=1e-4))


def _stage(
    modules: dict[str, Model], objective: str, corpora: tuple[str, ...], names: tuple[str, ...], **more: Any
) -> Stage:
    sources = tuple(Source(corpus=one, group="text", weight=1, start=0, end=1, digest="0" * 64) for one in corpora)
    phase = tiny.phase(objective, sources=sources, context=CONTEXT, **more)
    evaluation = Evaluation(names=names, context=CONTEXT, old_context=OLD, samples=12)
    return tiny.stage(modules, (phase,), tuple(modules), evaluation=evaluation, max_context=CONTEXT)


def by_torch(stage: Stage, root: Path, noise: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    """Under its own rotary positions, and losses under others; with relative normal noise on every weight."""
    with deterministic(stage.execution), denormals_flushed():
        trainer = TorchTrainer(stage, tiny.inputs(root), ALONE)
        drawn = torch.Generator().manual_seed(seed)
        for parameter in trainer._modules.parameters() if noise else ():
            parameter.data *= 1 + noise * torch.randn(parameter.shape, generator=drawn)
        return _numbers(trainer.evaluated(), stage, root)


def by_nemo(stage: Stage, root: Path) -> list[dict[str, Any]]:
    """The same on one of the stage's ranks; every rank has the numbers."""
    from stages.engines import place
    from stages.engines.nemo import groups
    from stages.engines.nemo.trainer import NemoTrainer

    with deterministic(stage.execution), denormals_flushed(), groups.met(stage, place.of(stage)) as group:
        return _numbers(NemoTrainer(stage, tiny.inputs(root), group).evaluated(), stage, root)


def _numbers(model: evals.Model | None, stage: Stage, root: Path) -> list[dict[str, Any]]:
    assert model is not None
    losses = stage.model_copy(
        update={"evaluation": stage.evaluation.model_copy(update={"names": stage.evaluation.names[:1]})}
    )
    return [evals.run(model, stage, Heldout(root)), evals.run(model, losses, Heldout(root), ELSEWHERE)]


def leaves(found: Any, name: str = "") -> dict[str, float]:
    """Numbers by their place."""
    if isinstance(found, dict):
        return {key: value for one, inner in found.items() for key, value in leaves(inner, f"{name}.{one}").items()}
    if isinstance(found, list):
        return {key: value for i, inner in enumerate(found) for key, value in leaves(inner, f"{name}.{i}").items()}
    return {name: float(found)}


STAGES = {
    "llama": llama(),
    "tied": llama(tied=True),
    "ouro": ouro(),
    "joint": joint(),
    "pairs": pairs(),
}


@lru_cache
def wanted(name: str, root: Path) -> tuple[dict[str, float], float]:
    """The torch engine's numbers, and how far those of another engine may be: both have roundings of their own, each of
    the size of one rounding of all weights.
    """
    found = leaves(by_torch(STAGES[name], root))
    drawn = [leaves(by_torch(STAGES[name], root, ROUNDING, seed)) for seed in range(2)]
    return found, 2 * max(apart(one, found) for one in drawn)


def apart(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest difference, relative to numbers above 1."""
    assert one.keys() == other.keys()
    return max(abs(one[name] - number) / max(abs(number), 1.0) for name, number in other.items())
