"""A phase's first updates in this process, compared with what the spec's optimizer makes of the same gradients.

Fields of groups are read back before (`readback`), rates and decay with every update. What an update does with them
shows here: of every parameter that AdamW moves some elements, their moments and the weights that the model computes
with, by the formula in fp64; of Muon, whole matrices, one of each way in which Megatron fuses them, by the torch
engine's; the biases of routers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor

from stages.contract import numbers
from stages.engines.nemo import names, router
from stages.engines.nemo.gathering import Gathering
from stages.engines.nemo.local import GRADIENT, WEIGHT, Owned
from stages.engines.nemo.muon import MatrixMuon
from stages.engines.nemo.optimizer import Mover
from stages.errors import UserError
from stages.models.moe import balanced
from stages.printable import first_few
from stages.spec import resolved_training
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.muon import muon_step
from stages.train.optimizer import FIRST, MOMENTUM, SECOND
from stages.train.param_groups import decays
from stages.train.ranks import Ranks

FIRST_ONES = 2  # momentum shows in the second
SHOWN = 3
ELEMENTS = 64  # of a parameter
MOVED, ROUNDED = 1e-4, 2.0**-22  # of what an update moves, and of what it moves
SCALED = 1e-6  # relative: of a gradient that is clipped
MUON = {"cpu": 1e-3, "cuda": 0.02}  # on a GPU Newton-Schulz is in bf16, and rounds otherwise in another batch


class WrongUpdateError(UserError):
    """Megatron's optimizer made another update than the spec's; nothing was saved of it."""

    repeats = True


@contextmanager
def checked(stage: Stage, phase: Phase, moved: Mover, chunks: Sequence[Any], lr: float, ranks: Ranks) -> Iterator[None]:
    """An update at a rate is made within the block. Raises WrongUpdateError, on all ranks."""
    some = [_Elements.of(one, moved.cfg, lr) for one in moved.owned if one.counts and one.stop > one.start]
    matrices = _Matrices(stage, moved, lr, ranks)
    routers = router.routers(chunks)
    rate = 0.0 if phase.router is None else numbers.value(phase.router.bias_update, None)
    biases = [_bias(one, rate) for one in routers]
    yield
    said = [one.said() for one in some]
    said += matrices.said()
    said += [
        f"bias of a router in layer {number + 1} of this stage's"
        for number, (one, bias) in enumerate(zip(routers, biases, strict=True))
        if not torch.equal(one.e_score_correction_bias, bias)
    ]
    differences = sorted({one for theirs in ranks.values([one for one in said if one]) for one in theirs})
    if differences:
        raise WrongUpdateError(
            f"{stage.ref}, phase {phase.name}: Megatron's update is not the one of the spec's optimizer: "
            f"{first_few(differences, SHOWN, '; ')}. Nothing was saved of it. Run with the versions that `make nemo` "
            "installs, without plugins."
        )


@dataclass(frozen=True)
class _Elements:
    """Some of a parameter's, fp64: where they are in what this rank moves, and what they were and have to be."""

    one: Owned
    places: Tensor
    before: Tensor
    wanted: dict[str, Tensor]
    step: int
    clipped: bool  # whether the gradient is Megatron's sum, times one number

    @classmethod
    def of(cls, one: Owned, cfg: resolved_training.Optimizer, lr: float) -> _Elements:
        """Gradients are those that were taken over, and clipped."""
        count = one.stop - one.start
        places = torch.arange(0, count, max(1, count // ELEMENTS), device=one.main.device)
        if one.main.grad is None:
            raise AssertionError(f"{one.placed.key} has no gradient")
        weight, first, second = (one.flat(kind)[places].double() for kind in (WEIGHT, FIRST, SECOND))
        slope = one.main.grad.detach().reshape(-1)[places].double()
        clipped = _along(slope, one.flat(GRADIENT)[places].double())
        beta1, beta2, decay = (numbers.value(n, None) for n in (cfg.beta1, cfg.beta2, cfg.weight_decay))
        first, second = first * beta1 + slope * (1 - beta1), second * beta2 + slope.square() * (1 - beta2)
        step = one.step + 1
        size = (second / (1 - beta2**step)).sqrt() + cfg.eps
        kept = weight * (1 - lr * decay) if decays(cfg, one.tensor) else weight
        wanted = {WEIGHT: kept - lr * (first / (1 - beta1**step)) / size, FIRST: first, SECOND: second}
        return cls(one, places, weight, wanted, step, clipped)

    def said(self) -> str:
        """What is wrong after the update; empty where nothing is."""
        name, one = self.one.placed.targets[0], self.one
        if not self.clipped:
            return f"gradient of {name}, which is not Megatron's sum"
        if one.step != self.step:
            return f"{name} counts {one.step} updates instead of {self.step}"
        for kind, wanted in self.wanted.items():
            found = one.flat(kind)[self.places].double()
            before = self.before if kind == WEIGHT else torch.zeros_like(wanted)
            allowed = MOVED * float((wanted - before).norm()) + ROUNDED * float(before.norm())
            if not float((found - wanted).norm()) <= allowed:
                return f"{kind} of {name}"
        used = one.tensor.detach().reshape(-1)[one.start : one.stop]
        if not torch.equal(used, one.flat(WEIGHT).to(used.dtype)):
            return f"what the model computes with of {name} is not what was moved"
        return ""


def _along(one: Tensor, other: Tensor) -> bool:
    """Whether a vector is another, times a number, as fp32 can tell; a rounding to bf16 shows."""
    size = float(other @ other)
    factor = float(one @ other) / size if size else 0.0
    return float((one - factor * other).norm()) <= SCALED * float(one.norm())


class _Matrices:
    """The smallest of each way in which Megatron has matrices of Muon, whole on the first rank."""

    def __init__(self, stage: Stage, moved: Mover, lr: float, ranks: Ranks) -> None:
        self._cfg, self._lr, self._ranks = moved.cfg, lr, ranks
        self._before: dict[str, dict[str, Tensor]] = {}
        if not isinstance(self._cfg, resolved_training.Muon):
            return
        from stages.models import build

        self._shapes = dict(build.build(stage, "meta").named_parameters())
        self._gathering = Gathering(moved.owned, names.rules(stage), ranks)
        for name in self._chosen(moved.owned):
            found = {kind: self._whole(name, kind) for kind in (WEIGHT, GRADIENT, MOMENTUM)}
            self._before[name] = {kind: one for kind, one in found.items() if one is not None}

    def said(self) -> list[str]:
        """Names of those that are wrong; nothing on other ranks than the first."""
        cfg, wrong = self._cfg, []
        for name, before in self._before.items():
            found = self._whole(name, WEIGHT)
            if found is None or not isinstance(cfg, resolved_training.Muon):
                continue
            wanted = before[WEIGHT] * (1 - self._lr * numbers.value(cfg.weight_decay, None))
            muon_step(
                [wanted], [before[GRADIENT]], [before[MOMENTUM]], lr=self._lr, nesterov=cfg.nesterov,
                momentum=numbers.value(cfg.momentum, None), coefficients=cfg.newton_schulz,
                steps=cfg.newton_schulz_steps, update_rms=cfg.update_rms,
            )  # fmt: skip
            allowed = MUON[found.device.type] * float((wanted - before[WEIGHT]).norm()) + ROUNDED * float(wanted.norm())
            if not float((found - wanted).norm()) <= allowed:
                wrong.append(f"{WEIGHT} of {name}")
        return wrong

    def _chosen(self, parameters: Sequence[Owned]) -> list[str]:
        """The same on every rank."""
        own = [
            [repr(one.placed.rule.form), one.placed.rule.by, target]
            for one in parameters
            if isinstance(one.inner, MatrixMuon)
            for target in one.placed.targets
        ]
        ways: dict[tuple[str, str], set[str]] = {}
        for form, by, target in (one for theirs in self._ranks.values(own) for one in theirs):
            ways.setdefault((form, by), set()).add(target)
        return sorted(min(some, key=lambda name: (self._shapes[name].numel(), name)) for some in ways.values())

    @torch.no_grad()
    def _whole(self, name: str, kind: str) -> Tensor | None:
        return self._gathering.one(name, kind, self._shapes[name])


def _bias(one: router.Router, rate: float) -> Tensor:
    """Of a router once the step's counts have moved it."""
    counts = one.counts.clone()
    group = parallel_state.get_tensor_and_data_parallel_group(with_context_parallel=True)
    torch.distributed.all_reduce(counts, group=group)
    bias = one.e_score_correction_bias
    return balanced(bias, counts, rate) if rate else bias.clone()
