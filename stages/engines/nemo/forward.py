"""Before step 1, and of a result: what each layer of Megatron's model computes, compared with the torch engine's.

What a layer is configured to compute is read back (`readback`); what it computes shows here: rotary pairs, masks,
activations, a router's scores, residuals, loops. One row of `probe` goes through Megatron's model, in which the states
before and behind every layer are taken. Then the first rank, which has the torch engine's model whole on its host at
this moment, gives each of that model's layers the states that Megatron's had, so that rounding does not add up over
layers, and no router chooses otherwise for it.

In bf16 small errors of a scale or an epsilon are less than the rounding. So there each layer is computed once more from
the same states in fp32, with its weights as they were rounded, and that is compared too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from stages import evals
from stages.data.loading.sample import Sample
from stages.engines.nemo import probe
from stages.engines.nemo.causal import inner
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.local import Owned, in_bf16
from stages.errors import UserError
from stages.models.common import SwiGLU
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import language_model as whole
from stages.train.ranks import Ranks

States = tuple[Tensor, Tensor, Tensor]
"""Before and behind a layer, and behind it in fp32."""


@dataclass(frozen=True)
class _Allowed:
    """How far states may be from the torch engine's: of what a layer adds to them (with a router more, which may choose
    another expert after a rounding), and of themselves; and losses, of how far they are from each other.
    """

    added: float
    routed: float
    rounded: float
    losses: float


CHOSEN_OTHERWISE = 8  # one of so many positions may go to another expert after a rounding in fp32
FP32, BF16 = _Allowed(3e-5, 0.05, 1e-6, 1e-4), _Allowed(0.05, 0.25, 2**-7, 0.1)


class OtherModelError(UserError):
    """Megatron's model computes something else than the torch engine's from the same weights."""

    repeats = True


@torch.no_grad()
def difference(
    stage: Stage, modules: nn.ModuleDict | None, chunks: list[Any], parameters: Sequence[Owned], ranks: Ranks
) -> str:
    """What is wrong, the same on every rank; empty where nothing is. `modules` are the torch engine's, of the first."""
    model, said, rounded = Divided(stage, chunks, ranks), "", in_bf16(parameters, ranks)
    for phase in {(one.document_mask, _loops(one)): one for one in stage.phases}.values():
        shape = probe.shaped(phase, model)
        (row,) = probe.rows(stage, shape, 1)
        with model.evaluating(), _recorded(chunks, _loops(phase)) as seen:
            losses = model.by_loop([row], shape)
        found: list[Any] = []
        for number in range(language_model(stage).layers):
            own = [*seen.get(number, []), *[(None, None, None)] * _loops(phase)][: _loops(phase)]
            calls = [tuple(model.whole(row, one) for one in states) for states in own]
            found.append(calls if ranks.first else [])
        if modules is not None and not said:
            beside = _Beside(found, BF16 if computes_in_bf16(stage.engine_class) else FP32, rounded)
            said = beside.compare(stage.model_copy(update={"engine_class": "torch-fp32"}), modules, row, shape, losses)
    if said := ranks.broadcast(said):
        return (
            f"{stage.ref}: Megatron's model computes something else than the torch engine's from the same weights: "
            f"{said}. Run with the versions that `make nemo` installs, without plugins."
        )
    return ""


def _loops(phase: Phase) -> int:
    return 1 if phase.loops is None else phase.loops.count


@contextmanager
def _recorded(chunks: list[Any], calls: int) -> Iterator[dict[int, list[States]]]:
    """By number of a layer that this rank has, its states in its first calls within the block."""
    found: dict[int, list[States]] = {}
    again: list[Any] = []  # the layer that is computed once more

    def record(layer: Any, _: Any, given: dict[str, Any], output: Any) -> None:
        seen = found.setdefault(layer.layer_number - 1, [])
        if again or len(seen) == calls:
            return
        before, exact = given["hidden_states"], output[0]
        if before.dtype == torch.bfloat16:
            again.append(layer)
            wide = {name: one.float() for name, one in layer.named_parameters()}
            exact = functional_call(layer, wide, (), {**given, "hidden_states": before.float()})[0]
            again.clear()
        seen.append((before, output[0], exact))

    with ExitStack() as stack:
        for layer in (layer for chunk in chunks for layer in inner(chunk).decoder.layers):
            stack.callback(layer.register_forward_hook(record, with_kwargs=True).remove)
        yield found


@dataclass
class _Beside:
    """The torch engine's layers, each given what Megatron's was in the same call."""

    states: list[list[States]]  # by layer and call
    allowed: _Allowed
    rounded: set[str]  # names of weights that are in bf16
    said: list[str] = field(default_factory=list)

    def compare(self, stage: Stage, modules: nn.ModuleDict, row: Sample, shape: Phase, losses: Tensor) -> str:
        """The first thing that is wrong; empty where nothing is."""
        stack: Any = whole(stage, modules).model
        exact, ends = evals.Whole(stage, modules), iter([behind for _, behind, _ in self.states[-1]])
        named = {id(one): one for name, one in modules.named_parameters() if name in self.rounded}
        with ExitStack() as hooks, exact.evaluating():
            for number, layer in enumerate(stack.layers):
                for hook in self._on(number, layer, [one for one in layer.parameters() if id(one) in named]):
                    hooks.callback(hook.remove)
            hooks.callback(stack.norm.register_forward_pre_hook(lambda *_: next(ends)[None]).remove)
            wanted = torch.cat([torch.stack(part) for part, _ in exact.losses([row], shape)], 1)
        far = float((losses - wanted).square().mean().sqrt() / wanted.std())
        if not far <= self.allowed.losses:
            self.said.append(f"behind the last layer, losses are {far:.2g} of their spread away")
        return self.said[0] if self.said else ""

    def _on(self, number: int, layer: Any, rounded: Sequence[Tensor]) -> Iterator[Any]:
        simple = isinstance(layer.mlp, SwiGLU)
        calls, now, kept = enumerate(self.states[number], 1), list[tuple[str, Tensor, Tensor]](), list[Tensor]()

        def give(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            loop, (before, *behind) = next(calls)
            named = f" in loop {loop}" if len(self.states[number]) > 1 else ""
            now[:] = [(f"behind layer {number + 1}{named}", behind[0], behind[1])]
            if number == 0:
                self._look(f"before layer 1{named}", before, given[0][0], given[0][0], self.allowed, simple=True)
            kept[:] = [one.data for one in rounded]
            for one in rounded:
                one.data = one.data.bfloat16().float()
            return (before[None], *given[1:])

        def look(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
            for one, data in zip(rounded, kept, strict=True):
                one.data = data
            where, behind, exact = now[0]
            added = output[0] - given[0][0]
            self._look(where, behind, output[0], added, self.allowed, simple)
            self._look(f"{where}, in fp32", exact, output[0], added, FP32, simple)

        yield layer.register_forward_pre_hook(give)
        yield layer.register_forward_hook(look)

    def _look(self, where: str, found: Tensor, wanted: Tensor, added: Tensor, allow: _Allowed, simple: bool) -> None:
        """`simple`: no router is in the layer."""
        each, size = (found - wanted).norm(dim=-1), float(added.norm())
        shares = [(each, allow.added if simple else allow.routed, "")]
        if not simple and allow is FP32:
            fewer = each.sort().values[: len(each) - len(each) // CHOSEN_OTHERWISE]
            shares.append((fewer, allow.added, " but for an eighth of the positions"))
        for some, share, of in shares:
            far, allowed = float(some.norm()), share * size + allow.rounded * float(wanted.norm())
            if not far <= allowed:
                self.said.append(
                    f"{where}, states{of} are {far / size:.2g} of what is added away; allowed: {allowed / size:.2g}"
                )
