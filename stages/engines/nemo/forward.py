"""Before step 1: what each layer of Megatron's model computes, compared with the torch engine's, in fp32.

What a layer is configured to compute is read back (`readback`); what it computes shows here: rotary pairs, masks,
activations, a router's scores, residuals, loops. One row of `probe` goes through Megatron's model, in which the states
before and behind every layer are taken. Then the first rank, which has the torch engine's model whole on its host at
this moment, gives each of that model's layers the states that Megatron's had, so that rounding does not add up over
layers, and no router chooses otherwise for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stages import evals
from stages.data.sample import Sample
from stages.engines.nemo import probe
from stages.engines.nemo.causal import inner
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.divided import Divided
from stages.errors import UserError
from stages.models.common import SwiGLU
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import language_model as whole
from stages.train.ranks import Ranks

States = tuple[Tensor, Tensor]
"""Before and behind a layer."""


@dataclass(frozen=True)
class _Allowed:
    """How far states may be from the torch engine's: of what a layer adds to them (with a router more, which may choose
    another expert after a rounding), and of themselves; and losses, of how far they are from each other.
    """

    added: float
    routed: float
    rounded: float
    losses: float


FP32, BF16 = _Allowed(3e-5, 0.05, 1e-6, 1e-4), _Allowed(0.05, 0.25, 2**-7, 0.1)


class OtherModelError(UserError):
    """Megatron's model computes something else than the torch engine's; nothing was trained."""

    repeats = True


@torch.no_grad()
def difference(stage: Stage, modules: nn.ModuleDict | None, chunks: list[Any], ranks: Ranks) -> str:
    """What is wrong, the same on every rank; empty where nothing is. `modules` are the torch engine's, of the first."""
    model, said = Divided(stage, chunks, ranks), ""
    for phase in {(one.document_mask, _loops(one)): one for one in stage.phases}.values():
        shape = probe.shaped(phase, model)
        (row,) = probe.rows(stage, shape, 1)
        with model.evaluating(), _recorded(chunks, _loops(phase)) as seen:
            losses = model.by_loop([row], shape)
        states = []
        for number in range(language_model(stage).layers):
            own = [*seen.get(number, []), *[(None, None)] * _loops(phase)][: _loops(phase)]
            calls = [(model.whole(row, before), model.whole(row, behind)) for before, behind in own]
            states.append(calls if ranks.first else [])
        if modules is not None and not said:
            beside = _Beside(states, BF16 if computes_in_bf16(stage.engine_class) else FP32)
            said = beside.compare(stage.model_copy(update={"engine_class": "torch-fp32"}), modules, row, shape, losses)
    if said := ranks.broadcast(said):
        return (
            f"{stage.ref}: Megatron's model computes something else than the torch engine's from the same weights: "
            f"{said}. Nothing was trained. Run with the versions that `make nemo` installs, without plugins."
        )
    return ""


def _loops(phase: Phase) -> int:
    return 1 if phase.loops is None else phase.loops.count


@contextmanager
def _recorded(chunks: list[Any], calls: int) -> Iterator[dict[int, list[States]]]:
    """By number of a layer that this rank has, its states in its first calls within the block."""
    found: dict[int, list[States]] = {}

    def record(layer: Any, _: Any, given: dict[str, Any], output: Any) -> None:
        seen = found.setdefault(layer.layer_number - 1, [])
        if len(seen) < calls:
            seen.append((given["hidden_states"], output[0]))

    with ExitStack() as stack:
        for layer in (layer for chunk in chunks for layer in inner(chunk).decoder.layers):
            stack.callback(layer.register_forward_hook(record, with_kwargs=True).remove)
        yield found


@dataclass
class _Beside:
    """The torch engine's layers, each given what Megatron's was in the same call."""

    states: list[list[States]]  # by layer and call
    allowed: _Allowed
    said: list[str] = field(default_factory=list)

    def compare(self, stage: Stage, modules: nn.ModuleDict, row: Sample, shape: Phase, losses: Tensor) -> str:
        """The first thing that is wrong; empty where nothing is."""
        stack: Any = whole(stage, modules).model
        exact, ends = evals.Whole(stage, modules), iter([behind for _, behind in self.states[-1]])
        with ExitStack() as hooks, exact.evaluating():
            for number, layer in enumerate(stack.layers):
                for hook in self._on(number, layer):
                    hooks.callback(hook.remove)
            hooks.callback(stack.norm.register_forward_pre_hook(lambda *_: next(ends)[None]).remove)
            wanted = torch.cat([torch.stack(part) for part, _ in exact.losses([row], shape)], 1)
        far = float((losses - wanted).square().mean().sqrt() / wanted.std())
        if not far <= self.allowed.losses:
            self.said.append(f"behind the last layer, losses are {far:.2g} of their spread away")
        return self.said[0] if self.said else ""

    def _on(self, number: int, layer: Any) -> Iterator[Any]:
        share = self.allowed.added if isinstance(layer.mlp, SwiGLU) else self.allowed.routed
        calls, now = enumerate(self.states[number], 1), list[tuple[str, Tensor]]()

        def give(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            loop, (before, behind) = next(calls)
            named = f" in loop {loop}" if len(self.states[number]) > 1 else ""
            now[:] = [(f"behind layer {number + 1}{named}", behind)]
            if number == 0:
                self._look(f"before layer 1{named}", before, given[0][0], given[0][0], self.allowed.added)
            return (before[None], *given[1:])

        def look(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            self._look(*now[0], output[0], output[0] - given[0][0], share)

        yield layer.register_forward_pre_hook(give)
        yield layer.register_forward_hook(look)

    def _look(self, where: str, found: Tensor, wanted: Tensor, added: Tensor, share: float) -> None:
        far, size = float((found - wanted).norm()), float(added.norm())
        allowed = share * size + self.allowed.rounded * float(wanted.norm())
        if not far <= allowed:
            self.said.append(
                f"{where}, states are {far / size:.2g} of what is added away; allowed: {allowed / size:.2g}"
            )
