"""Before step 1: the gradient of every trained tensor, compared with the torch engine's.

What `forward` shows of a layer says nothing of its backward pass: a sum over tensor-parallel ranks, a pipeline's way
back, gathered keys or an expert's share may be wrong there alone, and copies stay equal. One row of `probe` is in every
place of two micro-batches of each replica, so the mean over them is the gradient of that row: where a sum over
micro-batches or ranks leaves some out, it is smaller. The first rank, which has the torch engine's model whole on its
host at this moment, differentiates the row once.

No gradient is kept: of each [.., B] there is its product with a vector [B] of random numbers, the same for all of a
width. The difference of two products is, in the mean, as large as that of the gradients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isclose
from typing import Any

import torch
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.data.loading.sample import PairRow, Sample
from stages.engines.nemo import families, probe
from stages.engines.nemo.config.model import language_model
from stages.engines.nemo.data import Share
from stages.engines.nemo.divided import Divided
from stages.engines.nemo.gathering import Gathering
from stages.engines.nemo.optimizer import Mover
from stages.engines.nemo.parts import Shapes
from stages.engines.nemo.slope import MICROS
from stages.engines.nemo.step import Steps
from stages.models.moe import Router
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.train import objectives
from stages.train.ranks import CPU, Ranks

FP32, BF16, ROUTED = 1e-4, 0.1, 0.4  # of a gradient's size; in bf16 a router may choose another expert
TIMES = 4  # in bf16, what rounding in the torch engine's model does to it
NUMBER = re.compile(r"[0-9]+")
NORM = 1e-4  # relative: of the norm that the clip goes by
SMALL = 0.01  # of all gradients' norm: of a tensor whose gradient is smaller, that much is rounding of others'


@dataclass(frozen=True)
class _Row:
    """`Rows` that have one row, as often as it is asked for."""

    row: Sample

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        return [self.row] * count

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        raise ValueError("rows of tokens alone")


def difference(
    stage: Stage,
    modules: nn.ModuleDict | None,
    chunks: list[Any],
    reference: list[Any],
    moved: Mover,
    gathering: Gathering,
    trained: Shapes,
    ranks: Ranks,
) -> str:
    """What is wrong, the same on every rank; empty where nothing is. `modules` are the torch engine's, of the first;
    `trained` says which tensors take a gradient.
    """
    model, said = Divided(stage, chunks, ranks), ""
    phases = {(one.objective, one.document_mask, one.loops and one.loops.count): one for one in stage.phases}
    for phase in phases.values():
        shape = probe.shaped(phase, model)
        (row,) = probe.rows(stage, shape, 1)
        count = MICROS * shape.micro_batch * Share.here().replicas
        norm = _differentiate(stage, shape, chunks, reference, moved, _Row(row), count, ranks)
        wanted: dict[str, Tensor] = {}
        noise: dict[str, float] = {}
        if modules is not None and not said:
            wanted = _by_torch(stage, shape, modules, _Row(row))
            if computes_in_bf16(stage.engine_class):
                with _rounding(modules):
                    noise = _noise(_by_torch(stage, shape, modules, _Row(row)), wanted) | _routers(modules)
        found, square = {}, 0.0
        for name, gradient in gathering.gradients(trained):
            found[name] = _product(gradient)
            square += float(gradient.double().square().sum())
        if wanted:
            said = _compared(found, wanted, noise, _share(stage))
            if not said and not isclose(norm, square**0.5, rel_tol=NORM):
                said = f"the norm of all gradients is {norm:.6g}, Megatron's is of {square**0.5:.6g}"
    moved.zero()
    if said := ranks.broadcast(said):
        return (
            f"{stage.ref}: Megatron's gradients are not the torch engine's from the same weights: {said}. Nothing was "
            "updated. Run with the versions that `make nemo` installs, without plugins."
        )
    return ""


def _differentiate(
    stage: Stage,
    shape: Phase,
    chunks: list[Any],
    reference: list[Any],
    moved: Mover,
    rows: _Row,
    count: int,
    ranks: Ranks,
) -> float:
    """Have the gradients of `count` rows in Megatron's buffers; the norm that a step of them would have."""
    work = families.training(stage, shape, chunks, reference)
    with closing(Steps(stage, shape, chunks, moved, work, rows, ranks)) as steps:
        steps.differentiate(rows.samples(0, count, 0))
    return moved.norm()


def _by_torch(stage: Stage, shape: Phase, modules: nn.ModuleDict, rows: _Row) -> dict[str, Tensor]:
    """Products of the gradients, by name, of the torch engine's model on the host in fp32."""
    plain, found = stage.model_copy(update={"engine_class": "torch-fp32"}), dict[str, Tensor]()
    objective = objectives.make(plain, shape, modules, rows, CPU, frozen=modules)
    with ExitStack() as stack, closing(objective):
        stack.enter_context(_alone(modules, stage.trained))
        for name, parameter in modules.named_parameters():
            if parameter.requires_grad:
                stack.callback(parameter.register_post_accumulate_grad_hook(_taker(name, found)).remove)
        objective.begin(Step(0, 0, len(rows.row.tokens), 0, 1, 0))
        objective.part(0)[0].backward()
    return found


@contextmanager
def _alone(modules: nn.ModuleDict, trained: Sequence[str]) -> Iterator[None]:
    """Within the block, what is not trained takes no gradient."""
    rest = [one for name, module in modules.items() if name not in trained for one in module.parameters()]
    for one in rest:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in rest:
            one.requires_grad_(True)


def _taker(name: str, found: dict[str, Tensor]) -> Callable[[Tensor], None]:
    def take(parameter: Tensor) -> None:
        if parameter.grad is not None:
            found[name], parameter.grad = _product(parameter.grad), None

    return take


def _product(gradient: Tensor) -> Tensor:
    """Of [.., A, B], fp32 [.. * A]; of [B] itself."""
    if gradient.ndim < 2:
        return gradient.float().cpu()
    return (gradient.flatten(0, -2).float() @ _drawn(gradient.shape[-1]).to(gradient.device)).cpu()


@lru_cache(maxsize=16)
def _drawn(width: int) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(width))


def _far(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, float]:
    """By name, of its own size and a hundredth of all gradients' together; what no row touched has a gradient of 0."""
    least = SMALL * sum(float(one.square().sum()) for one in wanted.values()) ** 0.5
    likes = {name: wanted.get(name, torch.zeros_like(one)) for name, one in found.items()}
    return {
        name: float((one - likes[name]).norm()) / (float(likes[name].norm()) + least) for name, one in found.items()
    }


def _noise(rounded: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, float]:
    """By kind of tensor, in whatever layer, how far rounding takes the gradient of one."""
    found: dict[str, float] = {}
    for name, far in _far(rounded, wanted).items():
        found[_kind(name)] = max(found.get(_kind(name), 0.0), far)
    return found


def _share(stage: Stage) -> float:
    if not computes_in_bf16(stage.engine_class):
        return FP32
    return ROUTED if language_model(stage).ROUTED else BF16


def _routers(modules: nn.ModuleDict) -> dict[str, float]:
    """Of a router that has chosen otherwise, its own gradient says nothing."""
    named = [name for name, module in modules.named_modules() if isinstance(module, Router)]
    return {_kind(f"{name}.weight"): inf for name in named}


def _kind(name: str) -> str:
    return NUMBER.sub("", name)


def _compared(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], noise: Mapping[str, float], share: float
) -> str:
    """The tensor that is further off than any other, where one is too far."""
    far = _far(found, wanted)
    allowed = {name: max(share, TIMES * noise.get(_kind(name), 0.0)) for name in far}
    wrong = [name for name in far if not far[name] <= allowed[name]]
    if not wrong:
        return ""
    worst = max(wrong, key=lambda name: far[name] / allowed[name])
    rest = f", and those of {len(wrong) - 1} more tensors are too far off" if len(wrong) > 1 else ""
    return f"that of {worst} is {far[worst]:.2g} of its size away; allowed: {allowed[worst]:.2g}{rest}"


class _Rounded(torch.autograd.Function):
    """To bf16 and back, and the gradient too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].bfloat16().to(gradients[0].dtype)


@contextmanager
def _rounding(modules: nn.ModuleDict) -> Iterator[None]:
    """Within the block, what each module puts out is rounded as a model in bf16 rounds it."""
    with ExitStack() as stack:
        for module in modules.modules():
            stack.callback(module.register_forward_hook(_round).remove)
        yield


def _round(_: nn.Module, given: Any, output: Any) -> Any:
    floats = isinstance(output, Tensor) and output.is_floating_point()
    return _Rounded.apply(output) if floats else output
