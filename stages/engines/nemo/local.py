"""The parameters of Megatron's model that this rank has, and where their fp32 weights and moments lie on it.

A weight is read and written in fp32: under bf16 that is the optimizer's main copy, not the rounded one that the model
computes with. With the distributed optimizer a rank has the main copy, the gradient and the moments of a range of the
parameter laid flat; the parameter itself is whole on each rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stages.engines.nemo.layout import Placed, Rules
from stages.train.optimizer import FIRST, SECOND, STEP
from stages.train.ranks import Ranks

WEIGHT, GRADIENT = "weight", "gradient"
_LAYER = re.compile(r"(?P<list>.*?\blayers)\.(?P<number>[0-9]+)(?P<rest>\..*)")


@dataclass
class Owned:
    """One parameter or buffer on this rank.

    `part` of `parts`: which piece along the rule's `cut` the rank has. `main` is the fp32 copy of the flat range from
    `start` up to `stop`: the parameter's own memory where there is no other. `group` and `inner` are those of the torch
    optimizer that moves it, None for what is not trained or whose range is another rank's.
    """

    placed: Placed
    tensor: Tensor
    part: int
    parts: int
    start: int
    stop: int
    main: Tensor
    group: dict[str, Any] | None = None
    inner: torch.optim.Optimizer | None = None
    trained: bool = False
    divided: bool = False  # over the replicas, by the distributed optimizer: they have a range of it each, or none

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the moments that the torch optimizer keeps."""
        return getattr(self.inner, "moments", (FIRST, SECOND))

    @property
    def state(self) -> dict[str, Any]:
        """The torch optimizer's state of `main`; empty before the first step."""
        return {} if self.inner is None else self.inner.state[self.main]

    def flat(self, what: str) -> Tensor:
        """`what` of the range, flat fp32: the weight, the gradient, or a moment by its name; zeros before step 1."""
        if what == WEIGHT:
            return self.main.detach().reshape(-1).float()
        if what == GRADIENT:
            return self._gradient()
        found = self.state.get(what)
        return torch.zeros(self.stop - self.start, device=self.main.device) if found is None else found.reshape(-1)

    def _gradient(self) -> Tensor:
        return self.gradients.detach().reshape(-1)[self.start : self.stop].float()

    @property
    def gradients(self) -> Tensor:
        """Megatron's buffer, summed over the ranks once the backward pass is finished: whole, of what is trained."""
        found: Tensor = getattr(self.tensor, "main_grad")  # noqa: B009
        return found

    @property
    def counts(self) -> bool:
        """Whether its updates are counted here: Adam's moments need their number, Muon's do not."""
        return self.inner is not None and SECOND in self.moments

    def take(self, what: str, flat: Tensor) -> None:
        """Overwrite a main copy, or a moment, by fp32 numbers of the range; of another rank's range nothing is kept."""
        if what == WEIGHT:
            self.main.detach().view(-1).copy_(flat)
        elif self.inner is not None:
            self.state[what] = flat.to(self.main.device, torch.float32).clone().view_as(self.main)

    def count(self, step: int) -> None:
        """Say how many updates have been made."""
        if isinstance(self.inner, torch.optim.AdamW):
            self.state[STEP] = torch.tensor(float(step))
        elif self.counts and self.group is not None:  # Apex's and TransformerEngine's FusedAdam; never executed
            self.group[STEP] = step

    @property
    def step(self) -> int:
        """Updates made so far: torch's AdamW counts them by parameter, Apex's and TransformerEngine's by group."""
        count = self.state.get(STEP, (self.group or {}).get(STEP, 0))
        return int(count)


@dataclass(frozen=True)
class _Main:
    """What a torch optimizer moves for a parameter of the model: the flat range [start, stop) of it."""

    tensor: Tensor
    start: int
    stop: int
    group: dict[str, Any]
    inner: torch.optim.Optimizer


@dataclass
class _Moved:
    """By id of the model's parameters."""

    mains: dict[int, _Main] = field(default_factory=dict)
    divided: set[int] = field(default_factory=set)  # over the replicas; this rank has a range, or none


def owned(chunks: Sequence[nn.Module], rules: Rules, optimizer: Any | None = None) -> list[Owned]:
    """Everything of the model on this rank, in the model's order; `optimizer` is Core's, where there is one.

    Raises ValueError for a parameter that no rule knows.
    """
    moved = _moved(optimizer)
    found = []
    for chunk in chunks:
        for name, tensor in _tensors(chunk):
            placed = rules.place(name)
            if placed is not None:
                found.append(_one(placed, tensor, moved))
            elif isinstance(tensor, nn.Parameter):
                raise ValueError(f"no rule for Megatron's parameter {name} {list(tensor.shape)}")
    return found


def _one(placed: Placed, tensor: Tensor, moved: _Moved) -> Owned:
    part, parts = _part(placed)
    main, divided = moved.mains.get(id(tensor)), id(tensor) in moved.divided
    if main is not None:
        return Owned(
            placed, tensor, part, parts, main.start, main.stop, main.tensor, main.group, main.inner, True, divided
        )
    if divided:
        return Owned(placed, tensor, part, parts, 0, 0, tensor.detach().reshape(-1)[:0], trained=True, divided=True)
    return Owned(placed, tensor, part, parts, 0, tensor.numel(), tensor)


def _part(placed: Placed) -> tuple[int, int]:
    from megatron.core import parallel_state

    if placed.rule.cut is None:
        return 0, 1
    match placed.rule.by:
        case "tensor":
            group = parallel_state.get_tensor_model_parallel_group()
        case "expert":
            group = parallel_state.get_expert_model_parallel_group()
    return int(group.rank()), int(group.size())


def _tensors(chunk: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a chunk under their names in the whole model."""
    inner: Any = chunk
    while hasattr(inner, "module") and isinstance(inner.module, nn.Module):  # data parallelism's and bf16's wrappers
        inner = inner.module
    named = [*inner.named_parameters(remove_duplicate=False), *inner.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        yield _everywhere(inner, name), tensor


def _everywhere(model: nn.Module, name: str) -> str:
    """A name of this rank with the whole model's number of a layer in it."""
    if match := _LAYER.fullmatch(name):
        layer = model.get_submodule(f"{match['list']}.{match['number']}")
        number = getattr(layer, "layer_number", int(match["number"]) + 1) - 1
        name = f"{match['list']}.{number}{match['rest']}"
    return name


def _moved(optimizer: Any | None) -> _Moved:
    moved = _Moved()
    for one in () if optimizer is None else getattr(optimizer, "chained_optimizers", [optimizer]):
        if one.is_stub_optimizer:
            continue
        if hasattr(one, "model_param_group_index_map"):
            _ranges(one, moved)
        else:
            _whole(one, moved)
    return moved


def _whole(one: Any, moved: _Moved) -> None:
    """Core's FP32Optimizer, and its Float16OptimizerWithFloat16Params, which has copies of bf16 parameters."""
    rounded = [p for group in getattr(one, "float16_groups", ()) for p in group]
    of = {id(parameter.main_param): parameter for parameter in rounded}
    for group in one.optimizer.param_groups:
        for main in group["params"]:
            parameter = of.get(id(main), main)
            moved.mains[id(parameter)] = _Main(main, 0, parameter.numel(), group, one.optimizer)


def _ranges(one: Any, moved: _Moved) -> None:
    """Core's DistributedOptimizer: each rank of the data-parallel group has a range of the buffer laid end to end."""
    for buffer in one.buffers:
        moved.divided |= {id(parameter) for parameter in buffer.param_index_map}
    for parameter, (group_number, order) in one.model_param_group_index_map.items():
        place = one._get_model_param_range_map(parameter)["param"]
        group = one.optimizer.param_groups[group_number]
        main = group["params"][order]
        moved.mains[id(parameter)] = _Main(main, place.start, place.end, group, one.optimizer)


def steps(parameters: Sequence[Owned]) -> dict[str, int]:
    """Updates made so far of each of our modules, as far as this rank moves any of it.

    Raises AssertionError where parameters of one module differ.
    """
    found: dict[str, int] = {}
    for one in parameters:
        if one.counts and found.setdefault(one.placed.module, one.step) != one.step:
            raise AssertionError(
                f"{one.placed.key}: {one.step} updates, others of its module {found[one.placed.module]}"
            )
    return found


def in_bf16(parameters: Sequence[Owned], ranks: Ranks) -> set[str]:
    """Names of ours that Megatron's model computes with in bf16. All ranks call it."""
    own = sorted({name for one in parameters if one.tensor.dtype == torch.bfloat16 for name in one.placed.targets})
    return {name for theirs in ranks.values(own) for name in theirs}
