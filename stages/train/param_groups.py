"""Trained parameters as an optimizer knows them: which moves each, which are decayed, and in which group each is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import assert_never

from torch import Tensor, nn

from stages.spec import resolved_training
from stages.spec.resolved_training import Group, Part


@dataclass(frozen=True)
class Slot:
    """One trained parameter: its name "<module>.<parameter>", whether Muon moves it, and what groups know it by."""

    module: str
    name: str
    parameter: nn.Parameter
    muon: bool
    part: Part = "matrices"


def trained_slots(modules: nn.ModuleDict, trained: Sequence[str], cfg: resolved_training.Optimizer) -> list[Slot]:
    """Parameters of the trained modules, in the modules' order; those that take no gradient are left out."""
    muon = cfg.kind == "muon"
    return [
        Slot(module, f"{module}.{name}", parameter, muon and name in matrices, _part_of(name, parameter, tables))
        for module, part in modules.items()
        if module in trained
        for matrices, tables in [(matrix_names(part), _embeddings(part))]
        for name, parameter in part.named_parameters()
        if parameter.requires_grad
    ]


def matrix_names(module: nn.Module) -> set[str]:
    """Names of the parameters that Muon moves: every matrix but embeddings and the LM head (arXiv 2502.16982, 2.2).

    Stacked experts [E, A, B] are E matrices, a kernel [out, in, h, w] is one; position tables are embeddings.
    """
    embeddings = _embeddings(module)

    def is_matrix(name: str, parameter: nn.Parameter) -> bool:
        if name in embeddings or name == "lm_head.weight":
            return False
        return parameter.ndim in (2, 4) or (parameter.ndim == 3 and ".experts." in name)

    return {name for name, parameter in module.named_parameters() if is_matrix(name, parameter)}


def _part_of(name: str, parameter: Tensor, embeddings: Collection[str]) -> Part:
    """What a group of the optimizer knows a parameter by."""
    if name in embeddings:
        return "embeddings"
    if name == "lm_head.weight":
        return "head"
    return "vectors" if parameter.ndim < 2 else "matrices"


def _embeddings(module: nn.Module) -> set[str]:
    named = ((name, part) for name, part in module.named_modules() if isinstance(part, nn.Embedding))
    return {f"{name}.weight".removeprefix(".") for name, part in named}


def decays(cfg: resolved_training.Optimizer, parameter: Tensor) -> bool:
    """Whether weight decay takes a parameter."""
    match cfg.decay:
        case "all":
            return True
        case "matrices":
            return parameter.ndim >= 2
        case _:
            assert_never(cfg.decay)


@dataclass(frozen=True)
class Moved:
    """Slots of one group by number, or those of none: what AdamW moves, and what Muon moves (it decays them all)."""

    name: str
    lr: float
    weight_decay: float
    adamw: dict[tuple[str, bool], list[int]]  # by module, and whether they are decayed
    muon: list[int]

    @classmethod
    def of(
        cls, cfg: resolved_training.Optimizer, group: Group | None, slots: Sequence[Slot], moved: Sequence[int]
    ) -> Moved:
        """The slots of `moved`, of which this rank owns something, that are in a group, or in none for None."""
        mine = [i for i in moved if group_of(cfg, slots[i].module, slots[i].part) == group]
        adamw: dict[tuple[str, bool], list[int]] = {}
        for i in mine:
            if not slots[i].muon:
                adamw.setdefault((slots[i].module, decays(cfg, slots[i].parameter)), []).append(i)
        return cls(
            "" if group is None else group.name,
            1.0 if group is None else group.lr,
            1.0 if group is None else group.weight_decay,
            adamw,
            [i for i in mine if slots[i].muon],
        )


def group_of(cfg: resolved_training.Optimizer, module: str, part: Part) -> Group | None:
    """The group that parameters of a module belong to."""
    return next((group for group in cfg.groups or () if group.has(module, part)), None)
