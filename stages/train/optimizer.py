"""The optimizer of a stage: which parameter is moved how, the clip, and the state as named tensors.

State names are "<module>.<parameter>.<moment>" and "<module>.step", so that a child stage can take over one module's
state and leave another's. Of several ranks each has the moments of its own part of the parameters (`train.shards`),
updates that part, and gives it to the others; gradients, their norm and the clip are whole on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.contract import numbers
from stages.errors import UserError
from stages.models import tensor_file
from stages.models.ops import Update, global_norm, scale
from stages.spec import resolved_training
from stages.spec.numbers import OF_GROUP, of_optimizer
from stages.train.adamw import adamw_step
from stages.train.metrics import GRADIENT
from stages.train.muon import cost, muon_step
from stages.train.param_groups import Moved, Slot
from stages.train.ranks import ALONE, Ranks
from stages.train.shards import Borders, evenly, owners, whole

FIRST, SECOND, MOMENTUM, STEP = "exp_avg", "exp_avg_sq", "momentum", "step"
AVERAGE = "ema"  # of a parameter, besides its moments


@dataclass(frozen=True)
class Clipped:
    """A step's gradients as they were computed, their norm, and the factor to the clip norm, which AdamW's update uses.

    The norm is over all parameters; None: there is no clip.
    """

    gradients: Sequence[Tensor]
    norm: Tensor
    factor: Tensor | None


class Optimizer:
    """AdamW, or Muon with AdamW for what is no matrix. The LR is given at each step; nothing here knows a schedule."""

    def __init__(self, cfg: resolved_training.Optimizer, slots: Sequence[Slot], ranks: Ranks = ALONE) -> None:
        self.cfg, self.slots, self._ranks = cfg, list(slots), ranks
        self.parameters = [slot.parameter for slot in self.slots]
        self._steps = dict.fromkeys((slot.module for slot in self.slots), 0)
        self._borders = _borders(self.slots, ranks.size)
        # Lists once built: a step is a few calls over lists, not a loop over parameters. Of what this rank owns nothing
        # of, it has empty moments.
        self._own = [self._part(i, slot.parameter.detach()) for i, slot in enumerate(self.slots)]
        self._moments: dict[str, Tensor] = {}
        for slot, own in zip(self.slots, self._own, strict=True):
            for moment in self._kept(slot):
                zero = torch.clone if moment == AVERAGE else torch.zeros_like
                self._moments[f"{slot.name}.{moment}"] = zero(own)
        moved = [i for i, own in enumerate(self._own) if own.numel()]
        self._moved = [Moved.of(cfg, group, self.slots, moved) for group in (None, *(cfg.groups or ()))]

    def clip(self, gradients: Sequence[Tensor]) -> Clipped:
        """Gradients, whole on every rank, with their norm and what clips them.

        Under Muon only AdamW's group is measured and scaled: an orthogonalised update does not depend on the length
        of its gradient, and cutting it after the fact would shrink every step.
        """
        total = global_norm(gradients)
        group = [gradient for gradient, slot in zip(gradients, self.slots, strict=True) if not slot.muon]
        if not group or self.cfg.clip is None:
            return Clipped(gradients, total, None)
        norm = total if len(group) == len(gradients) else global_norm(group)
        return Clipped(gradients, total, torch.clamp(self.cfg.clip / (norm + 1e-6), max=1.0))

    def rates(self, lr: float) -> dict[str, float]:
        """LR of each group of parameters in a step at `lr`: AdamW's by module, Muon's in one. The guards read it."""
        named = [*self._steps, *(["muon"] if self.cfg.kind == "muon" else [])]
        found = dict.fromkeys(named, lr)
        for moved in self._moved[1:]:
            found |= {f"{name}{OF_GROUP}{moved.name}": lr * moved.lr for name in named}
        return found

    def numbers(self, clock: int | None) -> dict[str, float]:
        """Weight decay, betas and momentum in a step that ends at a clock. The guards read it."""
        return {name: numbers.value(number, clock) for name, number in of_optimizer(self.cfg)}

    @torch.no_grad()
    def step(self, clipped: Clipped, lr: float, clock: int | None = None) -> None:
        """Decay and move every parameter; decay takes the plain LR (Moonlight's published code). All ranks call it.

        Gradients that AdamW moves by are scaled in place.

        `clock` is where schedules of other numbers are read; ValueError where there are some, and no clock.
        """
        rates, now = self.rates(lr), self.numbers(clock)
        for module in self._steps:
            self._steps[module] += 1
        for moved in self._moved:
            self._move(moved, clipped, rates, now)
        if "ema" in now:
            mine = [i for moved in self._moved for some in (*moved.adamw.values(), moved.muon) for i in some]
            if mine:
                torch._foreach_lerp_(self._state(mine, AVERAGE), [self._own[i] for i in mine], 1 - now["ema"])
        self._ranks.all_gather_parts([parameter.detach() for parameter in self.parameters], self._borders)

    def _move(self, moved: Moved, clipped: Clipped, rates: Mapping[str, float], now: Mapping[str, float]) -> None:
        """One group, or all that is in none."""
        behind = f"{OF_GROUP}{moved.name}" if moved.name else ""
        decay = now["weight_decay"] * moved.weight_decay
        for (module, decayed), members in moved.adamw.items():
            adamw_step(
                [self._own[i] for i in members],
                [self._part(i, clipped.gradients[i]) for i in members],
                self._state(members, FIRST),
                self._state(members, SECOND),
                Update(
                    self._steps[module], rates[module + behind], now["beta1"], now["beta2"], self.cfg.eps,
                    decay if decayed else 0.0, clipped.factor,
                ),
            )  # fmt: skip
        if isinstance(self.cfg, resolved_training.Muon):
            if decay:
                scale([self._own[i] for i in moved.muon], 1 - rates["muon" + behind] * decay)
            muon_step(
                [self._own[i] for i in moved.muon],
                [clipped.gradients[i] for i in moved.muon],
                self._state(moved.muon, MOMENTUM),
                lr=rates["muon" + behind],
                momentum=now["momentum"],
                nesterov=self.cfg.nesterov,
                coefficients=self.cfg.newton_schulz,
                steps=self.cfg.newton_schulz_steps,
                update_rms=self.cfg.update_rms,
            )

    def state(self) -> dict[str, Tensor]:
        """What this rank has of all that is needed to go on, by name: all of it where it is alone, else its parts, laid
        flat. The tensors are the live ones.
        """
        return {**self._moments, **self._counts()}

    def owned(self) -> Iterator[tuple[str, Tensor, int]]:
        """Name, tensor and the number of its first element, of this rank's part of each parameter and what is kept."""
        for i, slot in enumerate(self.slots):
            yield slot.name, self._own[i], self._borders[i][self._ranks.rank]
            for moment in self._kept(slot):
                name = f"{slot.name}.{moment}"
                yield name, self._moments[name], self._borders[i][self._ranks.rank]

    def owned_gradients(self, gradients: Sequence[Tensor]) -> Iterator[tuple[str, Tensor, int]]:
        """The same of whole gradients, in the order of the parameters."""
        for i, (slot, gradient) in enumerate(zip(self.slots, gradients, strict=True)):
            yield f"{slot.name}{GRADIENT}", self._part(i, gradient), self._borders[i][self._ranks.rank]

    def shapes(self) -> dict[str, Tensor]:
        """Everything needed to go on, by name: type and shape of whole tensors, on the device "meta"."""
        moments = {
            f"{slot.name}.{moment}": torch.empty_like(slot.parameter, device="meta", requires_grad=False)
            for slot in self.slots
            for moment in self._kept(slot)
        }
        return moments | {name: count.to("meta") for name, count in self._counts().items()}

    def gather_state(self) -> Iterator[tuple[str, Tensor]]:
        """Everything needed to go on, one whole tensor after the other, for the first rank; for the others, nothing.

        In the order in which a file has them. All ranks must call it and come to its end. Only one tensor is whole at a
        time, unless it is kept.
        """
        borders = {
            f"{slot.name}.{moment}": cut
            for slot, cut in zip(self.slots, self._borders, strict=True)
            for moment in self._kept(slot)
        }
        shapes, counts = self.shapes(), self._counts()
        for name in tensor_file.order(shapes):
            found = counts.get(name) if name in counts else self._ranks.gather_parts(self._moments[name], borders[name])
            if self._ranks.first and found is not None:
                yield name, found.view(shapes[name].shape)
            del found  # or it would be there beside the next one

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], module: str, where: str) -> None:
        """Take over one module's state, whole as `gather_state` gives it: every rank takes its part.

        Raises UserError unless names and shapes are exactly those wanted.
        """
        fits(self.shapes(), state, module, where)
        members = [i for i, slot in enumerate(self.slots) if slot.module == module]
        for i in members:
            for moment in self._kept(self.slots[i]):
                name = f"{self.slots[i].name}.{moment}"
                self._moments[name].copy_(self._part(i, state[name]))
        if module in self._steps:
            self._steps[module] = int(state[f"{module}.{STEP}"])

    def averages(self) -> dict[str, Tensor]:
        """The averages of the weights as they begin, whole, by the names of the state: the live weights themselves."""
        if self.cfg.ema is None:
            return {}
        return {f"{slot.name}.{AVERAGE}": slot.parameter.detach() for slot in self.slots}

    def _kept(self, slot: Slot) -> tuple[str, ...]:
        """Moments of a parameter, and its average."""
        return (*_moments(slot), *((AVERAGE,) if self.cfg.ema is not None else ()))

    def counts(self) -> dict[str, int]:
        """Steps that were made, by name: those by which moments are corrected. The same on every rank."""
        return {f"{module}.{STEP}": step for module, step in self._steps.items()}

    def _counts(self) -> dict[str, Tensor]:
        return {name: torch.tensor(step) for name, step in self.counts().items()}

    def _part(self, i: int, tensor: Tensor) -> Tensor:
        """What this rank owns of a tensor shaped as parameter i: all of it as it is, or a range of it, laid flat."""
        start, stop = self._borders[i][self._ranks.rank : self._ranks.rank + 2]
        return tensor if stop - start == tensor.numel() else tensor.view(-1)[start:stop]

    def _state(self, members: Sequence[int], moment: str) -> list[Tensor]:
        return [self._moments[f"{self.slots[i].name}.{moment}"] for i in members]


def fits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], module: str, where: str) -> None:
    """Raise UserError unless names and shapes of one module's state in `found` are exactly those of `wanted`."""
    there, here = (_shapes(state, module) for state in (found, wanted))
    if here != there:
        differing = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        raise UserError(
            f"{where}: optimizer state of module {module!r} does not fit: {differing[0]} is "
            f"{there.get(differing[0], 'absent')}, wanted {here.get(differing[0], 'absent')} "
            f"({len(differing)} names differ). Write `optimizer: reset` for this module, or keep the optimizer."
        )


def _shapes(state: Mapping[str, Tensor], module: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(state[name].shape) for name in state if name.startswith(f"{module}.")}


def _moments(slot: Slot) -> tuple[str, ...]:
    return (MOMENTUM,) if slot.muon else (FIRST, SECOND)


def _borders(slots: Sequence[Slot], ranks: int) -> list[Borders]:
    """Who owns what: matrices that Muon moves are whole, everything else is divided evenly."""
    matrices = [i for i, slot in enumerate(slots) if slot.muon]
    rest = [i for i, slot in enumerate(slots) if not slot.muon]
    sizes = [slot.parameter.numel() for slot in slots]
    owner = owners([cost(slots[i].parameter) for i in matrices], ranks)
    found = dict(zip(matrices, whole([sizes[i] for i in matrices], owner, ranks), strict=True))
    found |= zip(rest, evenly([sizes[i] for i in rest], ranks), strict=True)
    return [found[i] for i in range(len(slots))]
