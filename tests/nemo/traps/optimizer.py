"""What moves the weights: groups, rates, decay, clips, Muon's matrices, and the rule of the experts' bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.nemo.traps import Patch


def scheduler(patch: pytest.MonkeyPatch) -> None:
    """Core's scheduler has the last word on the rate."""
    from megatron.core.optimizer.optimizer import ChainedOptimizer

    real = ChainedOptimizer.step_with_ready_grads

    def step(self: Any) -> bool:
        for group in self.param_groups:
            group["lr"] = group["max_lr"] * 0.999
        return bool(real(self))

    patch.setattr(ChainedOptimizer, "step_with_ready_grads", step)


def standard_decay(patch: pytest.MonkeyPatch) -> None:
    """Core's own rule: norms and biases are not decayed."""
    from megatron.core import optimizer as core

    real = core.get_megatron_optimizer
    patch.setattr(
        core, "get_megatron_optimizer", lambda *a, config_overrides, **k: real(*a, config_overrides=None, **k)
    )


def every_decay(patch: pytest.MonkeyPatch) -> None:
    """No overrides: everything is decayed."""
    from megatron.core import optimizer as core

    real = core.get_megatron_optimizer
    patch.setattr(core, "get_megatron_optimizer", lambda *a, **k: real(*a, **{**k, "config_overrides": {}}))


def fused(names: Sequence[str]) -> Patch:
    """Muon takes a fused parameter as one matrix."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from stages.engines.nemo.layout import ALONE
        from stages.engines.nemo.muon import MatrixMuon

        real = MatrixMuon.step

        def whole(one: Any) -> Any:
            if not any(name in one.placed.key for name in names):
                return one
            rule = replace(one.placed.rule, form=ALONE)
            return replace(one, placed=replace(one.placed, rule=rule, targets=one.placed.targets[:1]))

        def step(self: Any, closure: Any = None) -> None:
            members, self.members = self.members, [whole(one) for one in self.members]
            real(self)
            self.members = members

        patch.setattr(MatrixMuon, "step", step)

    return apply


def rounded_gradients(patch: pytest.MonkeyPatch) -> None:
    """Gradients are rounded to bf16 when the optimizer takes them over."""
    from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, FP32Optimizer

    for kind in (FP32Optimizer, Float16OptimizerWithFloat16Params):

        def prepare(self: Any, real: Any = kind.prepare_grads) -> bool:
            found = bool(real(self))
            for group in self.optimizer.param_groups:
                for one in group["params"]:
                    one.grad = one.grad.bfloat16().float()
            return found

        patch.setattr(kind, "prepare_grads", prepare)


def sums_in_bf16(patch: pytest.MonkeyPatch) -> None:
    """Gradients are added up in the model's precision, whatever the field says."""
    from megatron.core.distributed import distributed_data_parallel as parallel

    real = parallel.group_params_for_buffers
    patch.setattr(parallel, "group_params_for_buffers", lambda parameters, _, *more, **named: real(parameters, False))


def clipped_whole(patch: pytest.MonkeyPatch) -> None:
    """The clip's norm is over all parameters, those of Muon among them."""
    from stages.engines.nemo.optimizer import Mover

    real = Mover.clip

    def clip(self: Any) -> float:
        self._adamw = self._chain
        return real(self)

    patch.setattr(Mover, "clip", clip)


def groups(**values: Any) -> Patch:
    """The optimizer is made with these in its groups, whatever its configuration says."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from stages.engines.nemo import optimizer

        real = optimizer._core

        def core(*given: Any) -> Any:
            made = real(*given)
            for group in made.param_groups:
                group.update(values)
            return made

        patch.setattr(optimizer, "_core", core)

    return apply


def left_out(patch: pytest.MonkeyPatch) -> None:
    """A parameter is in no group."""
    from megatron.core import optimizer as core

    real = core._get_param_groups

    def fewer(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        del found[0]["params"][0]
        return found

    patch.setattr(core, "_get_param_groups", fewer)


def not_clipped(patch: pytest.MonkeyPatch) -> None:
    """What scales gradients does nothing."""
    from stages.engines.nemo import optimizer

    patch.setattr(optimizer, "clip_grad_by_total_norm_fp32", lambda *_: None)


def decay_doubled(patch: pytest.MonkeyPatch) -> None:
    """Core's scheduler has the last word on weight decay."""
    from megatron.core.optimizer.optimizer import ChainedOptimizer

    real = ChainedOptimizer.step_with_ready_grads

    def step(self: Any) -> bool:
        for group in self.param_groups:
            group["weight_decay"] *= 2
        return bool(real(self))

    patch.setattr(ChainedOptimizer, "step_with_ready_grads", step)


def norm_twice(patch: pytest.MonkeyPatch) -> None:
    """What tensor-parallel ranks have twice is counted twice in the norm."""
    from megatron.core import tensor_parallel

    patch.setattr(tensor_parallel, "param_is_not_tensor_parallel_duplicate", lambda *_, **__: True)


def cores_balance(patch: pytest.MonkeyPatch) -> None:
    """Core's own rule for the router's bias: without the mean of the signs."""
    from stages.engines.nemo import router

    def balanced(bias: Any, counts: Any, step: float) -> Any:
        error = torch.sign(counts.sum(dim=-1, keepdim=True) - counts * counts.shape[-1]).to(bias.dtype)
        return bias + step * error

    patch.setattr(router, "balanced", balanced)


def coupled_decay(patch: pytest.MonkeyPatch) -> None:
    """Adam with L2: decay is added to the gradients."""
    real = torch.optim.AdamW.step

    def step(self: Any, closure: Any = None) -> None:
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for one in group["params"]:
                one.grad = one.grad + decay * one.detach()
            group["weight_decay"] = 0.0
        real(self, closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay

    patch.setattr(torch.optim.AdamW, "step", step)


def other_clock(patch: pytest.MonkeyPatch) -> None:
    """Moments are corrected as if many updates had been made."""
    real = torch.optim.AdamW.step

    def step(self: Any, closure: Any = None) -> None:
        real(self, closure)
        for state in self.state.values():
            state["step"] += 1000

    patch.setattr(torch.optim.AdamW, "step", step)


def put_back(patch: pytest.MonkeyPatch) -> None:
    """What an update makes of one matrix is undone."""
    real = torch.optim.AdamW.step

    def step(self: Any, closure: Any = None) -> None:
        one = next(one for group in self.param_groups for one in group["params"] if one.ndim == 2)
        kept = one.detach().clone()
        real(self, closure)
        one.data.copy_(kept)

    patch.setattr(torch.optim.AdamW, "step", step)


def plain_momentum(patch: pytest.MonkeyPatch) -> None:
    """Muon's direction is its momentum."""
    from stages.engines.nemo import muon

    real = muon.directions
    patch.setattr(muon, "directions", lambda gradients, momenta, momentum, _: real(gradients, momenta, momentum, False))


def muon_of_parts(patch: pytest.MonkeyPatch) -> None:
    """Each tensor-parallel rank takes its part of a matrix for the matrix."""
    from stages.engines.nemo import muon

    patch.setattr(muon, "_cut", lambda _: None)
