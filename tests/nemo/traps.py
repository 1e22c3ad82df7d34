"""What each mutant of `mutants` does to Megatron's side, in a process of its own that ends with the case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from stages.spec.resolved import Stage
from tests.unit.train import tiny

Patch = Callable[[pytest.MonkeyPatch], None]


def fields(section: str, **values: Any) -> Patch:
    """A recipe, a plugin or a new version sets fields of Bridge's configuration after ours."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        from stages.engines.nemo import provider

        real = provider.configured

        def configured(stage: Stage) -> Any:
            whole = real(stage)
            for name, value in values.items():
                setattr(getattr(whole, section), name, value)
            return whole

        patch.setattr(provider, "configured", configured)

    return apply


def adam_defaults(patch: pytest.MonkeyPatch) -> None:
    """Core's own beta2 in the place of the spec's."""
    from megatron.core.optimizer import OptimizerConfig

    real = OptimizerConfig.__post_init__

    def post(self: Any) -> None:
        self.adam_beta2 = 0.999
        real(self)

    patch.setattr(OptimizerConfig, "__post_init__", post)


def cores_rotary(patch: pytest.MonkeyPatch) -> None:
    """Core's own rotary positions: original context 8192 hard-coded, our interpolation unknown."""
    from stages.engines.nemo import llama

    patch.setattr(llama, "place", lambda *_: None)


def rounded_rotary(patch: pytest.MonkeyPatch) -> None:
    """Frequencies in the model's half precision."""
    from stages.engines.nemo import rotary

    real = rotary.Rotary.__init__

    def init(self: Any, *given: Any) -> None:
        real(self, *given)
        self.inv_freq = self.inv_freq.bfloat16().float()

    patch.setattr(rotary.Rotary, "__init__", init)


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


def clipped_whole(patch: pytest.MonkeyPatch) -> None:
    """The clip's norm is over all parameters, those of Muon among them."""
    from stages.engines.nemo.optimizer import Mover

    real = Mover.clip

    def clip(self: Any) -> float:
        self._adamw = self._chain
        return real(self)

    patch.setattr(Mover, "clip", clip)


def swapped(patch: pytest.MonkeyPatch) -> None:
    """Another version's order in linear_fc1: up before gate."""
    from stages.engines.nemo.layout import Below

    split, join = Below.split, Below.join
    patch.setattr(Below, "split", lambda self, fused: split(self, fused)[::-1])
    patch.setattr(Below, "join", lambda self, parts: join(self, list(parts)[::-1]))


def regrouped(patch: pytest.MonkeyPatch) -> None:
    """linear_qkv with all queries first, as other software has it."""
    from stages.engines.nemo.layout import QueryGroups

    def split(self: Any, fused: Any) -> Any:
        each = fused.shape[0] // (self.queries + 2)
        return list(fused.split([each * self.queries, each, each]))

    patch.setattr(QueryGroups, "split", split)
    patch.setattr(QueryGroups, "join", lambda self, parts: torch.cat(list(parts)))


def no_documents(patch: pytest.MonkeyPatch) -> None:
    """The stock causal mask: documents of a row see each other."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, segments=micro.segments.clamp(max=0))

    patch.setattr(data, "stacked", stacked)


def shifted(patch: pytest.MonkeyPatch) -> None:
    """Labels are shifted once more."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, labels=micro.labels.roll(-1, dims=1))

    patch.setattr(data, "stacked", stacked)


def padding_counts(patch: pytest.MonkeyPatch) -> None:
    """A loss mask of ones: padding and blank rows are learnt from."""
    from stages.engines.nemo import data

    real = data.stacked

    def stacked(*given: Any) -> Any:
        micro = real(*given)
        return replace(micro, weights=torch.ones_like(micro.weights))

    patch.setattr(data, "stacked", stacked)


def samples_off(patch: pytest.MonkeyPatch) -> None:
    """consumed_train_samples is one too high: every step begins one row late."""
    real = tiny.Data.samples
    patch.setattr(tiny.Data, "samples", lambda self, first, count, tail: real(self, first + 1, count, tail))


def norm_twice(patch: pytest.MonkeyPatch) -> None:
    """What tensor-parallel ranks have twice is counted twice in the norm."""
    from megatron.core import tensor_parallel

    patch.setattr(tensor_parallel, "param_is_not_tensor_parallel_duplicate", lambda *_, **__: True)


def norms_not_added(patch: pytest.MonkeyPatch) -> None:
    """Under sequence parallelism the norms' gradients are each rank's own."""
    from stages.engines.nemo.norm import Norm

    real = Norm.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.weight.sequence_parallel = False

    patch.setattr(Norm, "__init__", init)


def weights_only(patch: pytest.MonkeyPatch) -> None:
    """`pretrained_checkpoint`, or `finetune`: weights come in, the optimizer starts anew."""
    from stages.engines.nemo import handover

    patch.setattr(handover, "load_state", lambda *_: None)


def clock_dropped(patch: pytest.MonkeyPatch) -> None:
    """Moments come in, the number of their updates does not: bias correction starts anew."""
    from stages.engines.nemo import handover

    real = handover.load_state

    def load(parameters: Any, shapes: Any, read: Any, module: str, step: int) -> None:
        real(parameters, shapes, read, module, 0)

    patch.setattr(handover, "load_state", load)


def drawn_again(patch: pytest.MonkeyPatch) -> None:
    """Weights are initialised after they were loaded."""
    from stages.engines.nemo.trainer import NemoTrainer

    real = NemoTrainer.begin

    def begin(self: Any) -> None:
        real(self)
        with torch.no_grad():
            parameters = self._chunks[0].named_parameters()
            next(one for name, one in parameters if "linear_fc2" in name).normal_(0.0, 0.02)

    patch.setattr(NemoTrainer, "begin", begin)


def bias_reset(patch: pytest.MonkeyPatch) -> None:
    """The router's bias is no parameter: it is zero again after loading."""
    from stages.engines.nemo.trainer import NemoTrainer

    real = NemoTrainer.begin

    def begin(self: Any) -> None:
        real(self)
        for chunk in self._chunks:
            for name, buffer in chunk.named_buffers():
                if name.endswith("correction_bias"):
                    buffer.zero_()

    patch.setattr(NemoTrainer, "begin", begin)


def cores_balance(patch: pytest.MonkeyPatch) -> None:
    """Core's own rule for the router's bias: without the mean of the signs."""
    from stages.engines.nemo import router

    def balanced(bias: Any, counts: Any, step: float) -> Any:
        error = torch.sign(counts.sum(dim=-1, keepdim=True) - counts * counts.shape[-1]).to(bias.dtype)
        return bias + step * error

    patch.setattr(router, "balanced", balanced)


def not_added_up(patch: pytest.MonkeyPatch) -> None:
    """Each replica keeps the gradients of its own rows."""
    from megatron.core.distributed import DistributedDataParallel

    patch.setattr(DistributedDataParallel, "finish_grad_sync", lambda *_, **__: None)


def halved(patch: pytest.MonkeyPatch) -> None:
    """The loss at each position is half of what it was, as of a loss that is a mean over two heads."""
    from megatron.core.models.gpt import GPTModel

    real = GPTModel.compute_language_model_loss
    patch.setattr(GPTModel, "compute_language_model_loss", lambda *given: real(*given) * 0.5)


def undivided(patch: pytest.MonkeyPatch) -> None:
    """Gradients are sums over tokens."""
    from megatron.core.distributed import DistributedDataParallel

    patch.setattr(DistributedDataParallel, "scale_gradients", lambda *_: None)


def mask_dropped(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its attention no mask, since the kernel is causal anyway."""
    from stages.engines.nemo.attention import DocumentAttention

    real = DocumentAttention.forward
    patch.setattr(
        DocumentAttention, "forward", lambda self, q, k, v, mask, /, **named: real(self, q, k, v, None, **named)
    )


def scaled(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its attention another scale than 1 / sqrt(width)."""
    from stages.engines.nemo.attention import DocumentAttention

    real = DocumentAttention.__init__
    patch.setattr(
        DocumentAttention,
        "__init__",
        lambda self, *given, **named: real(self, *given, **named | {"softmax_scale": 0.1}),
    )


def other_eps(patch: pytest.MonkeyPatch) -> None:
    """A layer hands its norms an epsilon of its own."""
    from stages.engines.nemo.norm import Norm

    real = Norm.__init__
    patch.setattr(Norm, "__init__", lambda self, config, hidden_size, eps: real(self, config, hidden_size, 1e-3))


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


def first_rows(patch: pytest.MonkeyPatch) -> None:
    """Every rank takes itself for the first replica."""
    from megatron.core import parallel_state

    patch.setattr(parallel_state, "get_data_parallel_rank", lambda *_, **__: 0)


def first_positions(patch: pytest.MonkeyPatch) -> None:
    """Every rank takes the first part of its rows."""
    from megatron.core import parallel_state

    patch.setattr(parallel_state, "get_context_parallel_rank", lambda *_, **__: 0)


def other_factor(patch: pytest.MonkeyPatch) -> None:
    """Routers weigh what they have chosen by another factor."""
    from stages.engines.nemo.router import Router

    real = Router.__init__

    def init(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self.scale = 1.0

    patch.setattr(Router, "__init__", init)
