"""One step of a small Llama or Ouro: the torch engine's numbers, and Megatron-Core's on one rank of a layout."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.data.loading.sample import Sample, blank
from stages.data.tokens.roles import LOCAL
from stages.engines.nemo import context
from stages.engines.nemo.layout import Rules
from stages.engines.nemo.names import rules
from stages.models.build import make
from stages.spec.families.llama import LlamaModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Loops
from stages.train.objectives import make as objective_of
from stages.train.objectives.base import collate, cut
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.replicated import gather
from tests.nemo import made_up
from tests.unit.train import tiny

SAMPLES, LENGTH, SHORT, MICRO = 7, 64, 26, 2  # the last micro-batch and its row are short
STD = 0.2  # weights at which attention attends and gates differ
STEP = Step(index=0, start=0, end=SAMPLES * LENGTH, first_sample=0, sequences=SAMPLES, tail=SHORT)
SHAPE = {"layers": 2, "hidden": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "head_dim": 8, "vocab": 64}
LLAMA = LlamaModel(family="llama", **SHAPE, norm_eps=1e-5, tied=False, init_std=0.05)
OURO = OuroModel(family="ouro", **SHAPE, norm_eps=1e-6, tied=False, init_std=0.05, post_norm_gain=1.0)


@dataclass(frozen=True)
class Layout:
    """Ranks by kind, and how a rank computes."""

    tp: int = 1
    cp: int = 1
    dp: int = 1
    sequence: bool = False
    recompute: str | None = None
    bf16: bool = False

    @property
    def ranks(self) -> int:
        return self.tp * self.cp * self.dp

    def __str__(self) -> str:
        words = [f"{name}{size}" for name, size in vars(self).items() if name in ("tp", "cp", "dp") and size > 1]
        words += [name for name in ("sequence", "bf16") if getattr(self, name)]
        return "-".join(words + ([self.recompute] if self.recompute else [])) or "alone"


@dataclass(frozen=True)
class Found:
    """A step's loss, the objective's columns, and gradients by our names; on a rank, its parts by Core's."""

    loss: float
    columns: list[float]
    gradients: dict[str, Tensor]


def stage(family: str) -> Stage:
    cfg = {"llama": LLAMA, "ouro": OURO}[family]
    loops = Loops(count=3, beta=0.1) if family == "ouro" else None
    objective = "looped" if family == "ouro" else "next_token"
    phase = tiny.phase(objective, loops=loops, context=LENGTH, micro_batch=MICRO)
    return tiny.stage({"llm": cfg}, (phase,), ("llm",))


def model(own: Stage) -> nn.Module:
    made = make(own.modules["llm"], own.rope, "cpu")
    made_up.randomised(made, STD)
    return made


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    return made_up.rows(SAMPLES, LENGTH, SHORT, SHAPE["vocab"])


def by_torch(own: Stage, lm: nn.Module) -> Found:
    """The torch engine's own objective and sums."""
    modules = nn.ModuleDict({"llm": lm})
    assert own.optimizer is not None
    optimizer = Optimizer(own.optimizer, trained_slots(modules, own.trained, own.optimizer))
    data: Any = type("Data", (), {"samples": staticmethod(lambda *_: list(samples()))})
    objective = objective_of(own, own.phases[0], modules, data, torch.device("cpu"))
    gradients, values = gather(optimizer, objective, STEP)
    objective.close()
    named = {slot.name: gradient for slot, gradient in zip(optimizer.slots, gradients, strict=True)}
    return Found(float(values[0]), [float(value) for value in values[1:]], named)


def by_core(own: Stage, layout: Layout, state: Mapping[str, Tensor]) -> Found:
    """On one rank: build, take over the weights, compute the step; gradients are this rank's parts."""
    from megatron.core import parallel_state as groups
    from megatron.core.distributed.finalize_model_grads import finalize_model_grads
    from megatron.core.pipeline_parallel import get_forward_backward_func

    warnings.simplefilter("ignore")  # Megatron's own, of what it will drop some day; this process ends with the case
    ddp = built(own, layout)
    inner = ddp.module.module if layout.bf16 else ddp.module
    take_over(inner, state, rules(own))
    cuts = cut(SAMPLES, MICRO)
    each = -(-len(cuts) // layout.dp)
    mine = range(groups.get_data_parallel_rank() * each, (groups.get_data_parallel_rank() + 1) * each)
    batches = iter([batch(own, cuts[i] if i < len(cuts) else range(0), layout.cp) for i in mine])
    ddp.config.finalize_model_grads_func = finalize_model_grads
    forward_step = partial(looped_step if own.phases[0].loops else causal_step, own)
    values = get_forward_backward_func()(
        forward_step_func=forward_step, data_iterator=batches, model=[ddp], num_microbatches=each,
        seq_length=LENGTH, micro_batch_size=MICRO, forward_only=False,
    )  # fmt: skip
    total = torch.stack(values).sum(0).double()
    dist.all_reduce(total, group=groups.get_data_parallel_group(with_context_parallel=True))
    loss, *columns = (total / sum(int((sample.labels != -100).sum()) for sample in samples())).tolist()
    return Found(loss, columns, {name: p.main_grad.clone() for name, p in inner.named_parameters()})


def built(own: Stage, layout: Layout) -> Any:
    from megatron.core import parallel_state as groups
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.models.gpt import GPTModel
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed
    from megatron.core.transformer.module import Float16Module
    from megatron.core.transformer.transformer_config import TransformerConfig

    from stages.engines.nemo import ouro, rotary

    cfg, phase = own.modules["llm"], own.phases[0]
    assert isinstance(cfg, LlamaModel | OuroModel)
    assert own.rope is not None
    groups.initialize_model_parallel(layout.tp, 1, context_parallel_size=layout.cp, create_gloo_process_groups=False)
    model_parallel_cuda_manual_seed(1)
    dtype = torch.bfloat16 if layout.bf16 else torch.float32
    again: dict[str, Any] = {"recompute_granularity": layout.recompute}
    if layout.recompute == "full":
        again |= {"recompute_method": "uniform", "recompute_num_layers": 1}
    if layout.recompute == "selective":
        again |= {"recompute_modules": ["core_attn"]}
    config = TransformerConfig(
        num_layers=cfg.layers, hidden_size=cfg.hidden, ffn_hidden_size=cfg.ffn, num_attention_heads=cfg.heads,
        num_query_groups=cfg.kv_heads, kv_channels=cfg.head_dim, layernorm_epsilon=cfg.norm_eps,
        init_method_std=cfg.init_std, normalization="RMSNorm", gated_linear_unit=True,
        activation_func=torch.nn.functional.silu, add_bias_linear=False, hidden_dropout=0.0, attention_dropout=0.0,
        tensor_model_parallel_size=layout.tp, context_parallel_size=layout.cp,
        sequence_parallel=layout.sequence, use_cpu_initialization=True, params_dtype=dtype, bf16=layout.bf16,
        calculate_per_token_loss=True, gradient_accumulation_fusion=False, persist_layer_norm=False,
        bias_dropout_fusion=False, bias_activation_fusion=False, masked_softmax_fusion=False, apply_rope_fusion=False,
        cross_entropy_loss_fusion=False, **again,
    )  # fmt: skip
    if phase.loops is not None:
        assert isinstance(cfg, OuroModel)
        made: Any = ouro.build(cfg, config, LENGTH)
    else:
        made = GPTModel(
            config, plain(config), cfg.vocab, LENGTH, share_embeddings_and_output_weights=cfg.tied,
            position_embedding_type="rope",
        )  # fmt: skip
    rotary.place(made, own.rope, cfg.head_dim)
    how = DistributedDataParallelConfig(grad_reduce_in_fp32=True, overlap_grad_reduce=False)
    return DistributedDataParallel(config, how, Float16Module(config, made) if layout.bf16 else made)


def plain(config: Any) -> Any:
    """A Llama's layers by Core, with our attention and norm."""
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules

    from stages.engines.nemo.attention import DocumentAttention
    from stages.engines.nemo.norm import Norm

    layer = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer.submodules.self_attention.submodules.core_attention = DocumentAttention
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = Norm
    return TransformerBlockSubmodules(layer_specs=[layer] * config.num_layers, layer_norm=Norm)


@torch.no_grad()
def take_over(model: nn.Module, state: Mapping[str, Tensor], rules: Rules) -> None:
    from megatron.core import parallel_state as groups

    tp, rank = groups.get_tensor_model_parallel_world_size(), groups.get_tensor_model_parallel_rank()
    for name, parameter in model.named_parameters():
        placed = rules.place(name)
        assert placed is not None, name
        whole = [state[target] for target in placed.targets]
        if placed.rule.cut is not None:
            whole = [tensor.chunk(tp, placed.rule.cut)[rank] for tensor in whole]
        parameter.copy_(placed.rule.form.join(whole))


def assembled(own: Stage, layout: Layout, found: list[Found]) -> dict[str, Tensor]:
    """Our whole gradients from all ranks' parts. Copies must agree up to the last bits of their sums."""
    known, whole = rules(own), {}
    for name in found[0].gradients:
        placed = known.place(name)
        assert placed is not None
        parts: list[list[Tensor]] = []
        for rank, one in enumerate(found):  # tensor-parallel ranks are neighbours
            if rank < layout.tp:
                parts.append(placed.rule.form.split(one.gradients[name]))
                continue
            first = found[rank % layout.tp].gradients[name]
            torch.testing.assert_close(one.gradients[name], first, rtol=1e-5, atol=1e-9, msg=name)
        for target, pieces in zip(placed.targets, zip(*parts, strict=True), strict=True):
            if placed.rule.cut is not None:
                whole[target] = torch.cat(list(pieces), placed.rule.cut)
                continue
            for piece in pieces:
                torch.testing.assert_close(piece, pieces[0], rtol=1e-5, atol=1e-9, msg=name)
            whole[target] = pieces[0]
    return whole


def batch(own: Stage, rows: range, cp: int) -> dict[str, Tensor]:
    """A micro-batch of this rank's positions, filled up with blank rows, and the segments of whole rows."""
    from megatron.core import parallel_state as groups

    blanks = [blank(LENGTH, LOCAL)] * (MICRO - len(rows))
    filled = collate([*(samples()[i] for i in rows), *blanks], own.phases[0], None, torch.device("cpu"))
    given = filled.batch
    width, count = LENGTH - given.tokens.shape[1], given.tokens.shape[0]
    assert not width, "a short row is widened by a blank one"
    segments = np.full((count, LENGTH), -1, dtype=np.int32)
    for row, i in enumerate(rows):
        segments[row, : len(samples()[i].segments)] = samples()[i].segments
    mine = partial(context.own, rank=groups.get_context_parallel_rank(), ranks=cp)
    return {
        "tokens": mine(given.tokens),
        "positions": mine(given.positions),
        "labels": mine(filled.labels.clamp(min=0)),
        "supervised": mine((filled.labels != -100).float()),
        "segments": torch.from_numpy(segments),
    }


def causal_step(own: Stage, batches: Any, model: Any) -> Any:
    given = next(batches)
    losses = model(given["tokens"], given["positions"], given["segments"], labels=given["labels"])

    def total(losses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss = (losses * given["supervised"]).sum()
        return loss, given["supervised"].sum().to(torch.int), loss.detach()[None]

    return losses, total


def looped_step(own: Stage, batches: Any, model: Any) -> Any:
    from stages.engines.nemo.ouro import looped_loss

    given, loops = next(batches), own.phases[0].loops
    assert loops is not None
    beta = loops.beta
    assert isinstance(beta, float)
    found = model(given["tokens"], given["positions"], given["segments"], given["labels"], loops.count)

    def total(found: Any) -> tuple[Tensor, Tensor, Tensor]:
        losses, gates = found
        loss, columns = looped_loss(losses, gates, given["supervised"], beta)
        return loss, given["supervised"].sum().to(torch.int), torch.cat([loss.detach()[None], columns])

    return found, total


def worst(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest relative difference in norm, and of which tensor.

    The exit gate's bias is taken together with its weight: its gradient is one number, a sum over all tokens of terms
    of both signs that leaves a hundredth of the weight's, so that its own rounding is ten times anything else's.
    """
    found, wanted = dict(found), dict(wanted)
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for gradients in (found, wanted):
        for bias in [name for name in gradients if name.endswith("gate.bias")]:
            weight = bias.removesuffix("bias") + "weight"
            gradients[weight] = torch.cat([gradients[weight].flatten(), gradients.pop(bias)])
    return max((float((found[name] - wanted[name]).norm() / wanted[name].norm()), name) for name in wanted)
