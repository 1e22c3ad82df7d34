"""Small models of Megatron-Core's in any layout, for tests of what is handed over: no Bridge, no engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.engines.nemo import names
from stages.engines.nemo.layout import Rules
from stages.engines.nemo.local import Owned
from stages.engines.nemo.parts import Read
from stages.models import build
from stages.spec.families.llama import LlamaModel
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from tests.unit.train import tiny

CFG = LlamaModel(
    family="llama", layers=4, hidden=16, ffn=24, heads=4, kv_heads=2, head_dim=6, vocab=48, norm_eps=1e-5, tied=False,
    init_std=0.05,
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """How many ranks divide the model in each way; what is left over is data parallel."""

    tp: int = 1
    pp: int = 1
    vpp: int | None = None
    distributed: bool = False
    bf16: bool = False
    ranks: int = 1

    def __str__(self) -> str:
        words = [f"tp{self.tp}", f"pp{self.pp}", f"dp{self.ranks // self.tp // self.pp}"]
        words += [f"vpp{self.vpp}"] if self.vpp else []
        return "-".join(words + [word for word in ("distributed", "bf16") if getattr(self, word)])


def from_memory(tensors: Mapping[str, Tensor]) -> Read:
    """Read parts of tensors that are here, under our names."""
    return lambda target, place: tensors[target][place]


def stage(cfg: LlamaModel = CFG, **changes: Any) -> Stage:
    """A stage with this model."""
    return tiny.stage({"llm": cfg}, (tiny.phase("next_token"),), ("llm",), **changes)


def divided(stage: Stage, layout: Layout) -> Stage:
    """The stage on the NeMo engine in this layout."""
    how = Parallel(
        tp=layout.tp, pp=layout.pp, cp=1, ep=1, vpp=layout.vpp or 1, sequence_parallel=False,
        distributed_optimizer=layout.distributed, recompute="none",
    )  # fmt: skip
    execution = stage.execution.model_copy(update={"parallel": how, "ranks": layout.ranks, "engine": "nemo"})
    kind = "nemo-bf16" if layout.bf16 else "nemo-fp32"
    return stage.model_copy(update={"execution": execution, "engine_class": kind})


@dataclass
class Built:
    """A model on this rank, with what the handover needs."""

    stage: Stage
    chunks: list[Any]
    mover: Any
    rules: Rules
    ranks: Ranks

    def owned(self) -> list[Owned]:
        found: list[Owned] = self.mover.owned
        return found

    def modules(self) -> nn.ModuleDict:
        return build.build(self.stage, "meta")

    def shapes(self) -> dict[str, Tensor]:
        return dict(self.modules().state_dict())

    def state(self) -> dict[str, Tensor]:
        modules, cfg = self.modules(), self.stage.optimizer
        assert cfg is not None
        return Optimizer(cfg, trained_slots(modules, self.stage.trained, cfg)).shapes()


@contextmanager
def parallel(layout: Layout) -> Iterator[Ranks]:
    """Core's groups of this layout, in a rank that is in the group of all."""
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    parallel_state.initialize_model_parallel(
        layout.tp, layout.pp, virtual_pipeline_model_parallel_size=layout.vpp, create_gloo_process_groups=False
    )
    model_parallel_cuda_manual_seed(1)
    yield Ranks(dist.get_rank(), dist.get_world_size())


def make(stage: Stage, layout: Layout, ranks: Ranks) -> Built:
    """Megatron's model, and the stage's optimizer on it."""
    from megatron.core import parallel_state
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.module import Float16Module

    from stages.engines.nemo.optimizer import Mover

    stage = divided(stage, layout)
    cfg = stage.modules["llm"]
    assert isinstance(cfg, LlamaModel)
    dtype = torch.bfloat16 if layout.bf16 else torch.float32
    config = TransformerConfig(
        num_layers=cfg.layers, hidden_size=cfg.hidden, ffn_hidden_size=cfg.ffn, num_attention_heads=cfg.heads,
        num_query_groups=cfg.kv_heads, kv_channels=cfg.head_dim, normalization="RMSNorm", gated_linear_unit=True,
        activation_func=torch.nn.functional.silu, add_bias_linear=False, use_cpu_initialization=True,
        tensor_model_parallel_size=layout.tp, pipeline_model_parallel_size=layout.pp, pipeline_dtype=dtype,
        virtual_pipeline_model_parallel_size=layout.vpp, bf16=layout.bf16, params_dtype=dtype,
        gradient_accumulation_fusion=False, hidden_dropout=0.0,
        attention_dropout=0.0, persist_layer_norm=False, bias_dropout_fusion=False, masked_softmax_fusion=False,
    )  # fmt: skip
    chunks = []
    for chunk in range(layout.vpp or 1):
        vpp = None if layout.vpp is None else chunk
        pre = parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=vpp)
        post = parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=vpp)
        model: Any = GPTModel(
            config, get_gpt_layer_local_spec(normalization="RMSNorm"), cfg.vocab, tiny.CONTEXT, pre_process=pre,
            post_process=post, share_embeddings_and_output_weights=cfg.tied, position_embedding_type="rope",
            vp_stage=vpp,
        )  # fmt: skip
        if layout.bf16:
            model = Float16Module(config, model)
        ddp = DistributedDataParallelConfig(
            use_distributed_optimizer=layout.distributed, grad_reduce_in_fp32=True, overlap_grad_reduce=False
        )
        chunks.append(DistributedDataParallel(config, ddp, model))
    return Built(stage, chunks, Mover(stage, chunks), names.rules(stage), ranks)
