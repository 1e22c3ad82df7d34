"""The optimizer of a stage: which parameter is moved how, the clip, and the state as named tensors.

State names are "<module>.<parameter>.<moment>" and "<module>.step", so that a child stage can take over one module's
state and leave another's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn

from stages.errors import UserError
from stages.models.ops import global_norm
from stages.spec import resolved_training
from stages.train.adamw import adamw_step
from stages.train.muon import muon_step
from stages.train.ranks import ALONE, Ranks

FIRST, SECOND, MOMENTUM, STEP = "exp_avg", "exp_avg_sq", "momentum", "step"


@dataclass(frozen=True)
class Slot:
    """One trained parameter: its name "<module>.<parameter>", and whether Muon moves it."""

    module: str
    name: str
    parameter: nn.Parameter
    muon: bool


def trained_slots(modules: nn.ModuleDict, trained: Sequence[str], cfg: resolved_training.Optimizer) -> list[Slot]:
    """Parameters of the trained modules, in the modules' order; those that take no gradient are left out."""
    return [
        Slot(module, f"{module}.{name}", parameter, cfg.kind == "muon" and name in matrices)
        for module, part in modules.items()
        if module in trained
        for matrices in [matrix_names(part)]
        for name, parameter in part.named_parameters()
        if parameter.requires_grad
    ]


def matrix_names(module: nn.Module) -> set[str]:
    """Names of the parameters that Muon moves: every matrix but embeddings and the LM head (arXiv 2502.16982, 2.2).

    Stacked experts [E, A, B] are E matrices, a kernel [out, in, h, w] is one; position tables are embeddings.
    """
    embeddings = {
        f"{name}.weight".removeprefix(".") for name, part in module.named_modules() if isinstance(part, nn.Embedding)
    }

    def is_matrix(name: str, parameter: nn.Parameter) -> bool:
        if name in embeddings or name == "lm_head.weight":
            return False
        return parameter.ndim in (2, 4) or (parameter.ndim == 3 and ".experts." in name)

    return {name for name, parameter in module.named_parameters() if is_matrix(name, parameter)}


def _decays(cfg: resolved_training.Optimizer, parameter: Tensor) -> bool:
    """Whether weight decay takes a parameter."""
    match cfg.decay:
        case "all":
            return True
        case "matrices":
            return parameter.ndim >= 2
        case _:
            assert_never(cfg.decay)


class Optimizer:
    """AdamW, or Muon with AdamW for what is no matrix. The LR is given at each step; nothing here knows a schedule."""

    def __init__(self, cfg: resolved_training.Optimizer, slots: Sequence[Slot], ranks: Ranks = ALONE) -> None:
        self.cfg, self.slots, self._ranks = cfg, list(slots), ranks
        self.parameters = [slot.parameter for slot in self.slots]
        self._steps = dict.fromkeys((slot.module for slot in self.slots), 0)
        self._moments: dict[str, Tensor] = {}
        for slot in self.slots:
            for moment in _moments(slot):
                self._moments[f"{slot.name}.{moment}"] = torch.zeros_like(slot.parameter, requires_grad=False)
        # Lists once built: a step is a few calls over lists, not a loop over parameters.
        self._adamw = {module: self._members(module, muon=False) for module in self._steps}
        self._muon = [i for i, slot in enumerate(self.slots) if slot.muon]
        self._decayed = [slot.parameter.detach() for slot in self.slots if _decays(cfg, slot.parameter)]

    def clip(self, gradients: Sequence[Tensor]) -> Tensor:
        """Scale gradients in place to the clip norm, if there is one; return their norm before, over all parameters.

        Under Muon only AdamW's group is measured and scaled: an orthogonalised update does not depend on the length
        of its gradient, and cutting it after the fact would shrink every step.
        """
        total = global_norm(gradients)
        group = [gradient for gradient, slot in zip(gradients, self.slots, strict=True) if not slot.muon]
        if not group or self.cfg.clip is None:
            return total
        norm = total if len(group) == len(gradients) else global_norm(group)
        torch._foreach_mul_(group, torch.clamp(self.cfg.clip / (norm + 1e-6), max=1.0))
        return total

    def rates(self, lr: float) -> dict[str, float]:
        """LR of each group of parameters in a step at `lr`: AdamW's by module, Muon's in one. The guards read it."""
        return {**dict.fromkeys(self._steps, lr), **({"muon": lr} if self.cfg.kind == "muon" else {})}

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Decay and move every parameter; decay takes the plain LR (Moonlight's published code)."""
        rates = self.rates(lr)
        if self.cfg.weight_decay:
            torch._foreach_mul_(self._decayed, 1 - lr * self.cfg.weight_decay)
        for module, members in self._adamw.items():
            self._steps[module] += 1
            adamw_step(
                [self.slots[i].parameter.detach() for i in members],
                [gradients[i] for i in members],
                self._state(members, FIRST),
                self._state(members, SECOND),
                step=self._steps[module],
                lr=rates[module],
                beta1=self.cfg.beta1,
                beta2=self.cfg.beta2,
                eps=self.cfg.eps,
            )
        if isinstance(self.cfg, resolved_training.Muon):
            muon_step(
                [self.slots[i].parameter.detach() for i in self._muon],
                [gradients[i] for i in self._muon],
                self._state(self._muon, MOMENTUM),
                lr=rates["muon"],
                momentum=self.cfg.momentum,
                nesterov=self.cfg.nesterov,
                coefficients=self.cfg.newton_schulz,
                steps=self.cfg.newton_schulz_steps,
                update_rms=self.cfg.update_rms,
                ranks=self._ranks,
            )

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name. The tensors are the live ones."""
        steps = {f"{module}.{STEP}": torch.tensor(step) for module, step in self._steps.items()}
        return {**self._moments, **steps}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], module: str, where: str) -> None:
        """Take over one module's state. Raises UserError unless names and shapes are exactly those wanted."""
        prefix = f"{module}."
        wanted = {name: tuple(tensor.shape) for name, tensor in self.state().items() if name.startswith(prefix)}
        found = {name: tuple(tensor.shape) for name, tensor in state.items() if name.startswith(prefix)}
        if wanted != found:
            differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
            raise UserError(
                f"{where}: optimizer state of module {module!r} does not fit: {differing[0]} is "
                f"{found.get(differing[0], 'absent')}, wanted {wanted.get(differing[0], 'absent')} "
                f"({len(differing)} names differ). Write `optimizer: reset` for this module, or keep the optimizer."
            )
        for name in wanted:
            if name == f"{prefix}{STEP}":
                self._steps[module] = int(state[name])
            else:
                self._moments[name].copy_(state[name])

    def _members(self, module: str, muon: bool) -> list[int]:
        return [i for i, slot in enumerate(self.slots) if slot.module == module and slot.muon == muon]

    def _state(self, members: Sequence[int], moment: str) -> list[Tensor]:
        return [self._moments[f"{self.slots[i].name}.{moment}"] for i in members]


def _moments(slot: Slot) -> tuple[str, ...]:
    return (MOMENTUM,) if slot.muon else (FIRST, SECOND)
