"""Which stages are traced in which ways, and one step of each: forward and backward passes, clip, checksums, update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from stages.contract import ledger
from stages.models import experts
from stages.models.build import build
from stages.models.layers import recompute
from stages.models.ops import choice, functional, head, multi_tensor
from stages.spec.families.gemma2 import Gemma2Model
from stages.spec.families.gemma3 import Gemma3Model
from stages.spec.families.olmo2 import Olmo2Model
from stages.spec.families.qwen2 import Qwen2Model
from stages.spec.families.qwen3_moe import Qwen3MoeModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import Loops, Router
from stages.spec.resolved_training import Muon
from stages.train import checksum, prefetch
from stages.train.determinism import deterministic
from stages.train.ranks import ALONE
from stages.train.replicated import gather
from stages.train.state_sums import Others
from tests.cuda import stages
from tests.traced.watch import FoundError, Watch, pinned
from tests.unit.models.test_apex import Amp
from tests.unit.train import tiny
from tests.unit.train.beginning import begin

GPU = torch.device("cuda")
WIDE: dict[str, Any] = {"hidden": 32, "ffn": 48, "heads": 4, "kv_heads": 2, "vocab": tiny.VOCAB, "init_std": 0.02}
WINDOW: dict[str, Any] = {"window": 7, "head_dim": 16, "query_scalar": 16, "norm_eps": 1e-6, "tied": True}
FAMILIES: dict[str, Model] = {  # what attention and layers have besides those of tiny's stages
    "capped scores": Gemma2Model(
        family="gemma2", layers=2, full_every=2, score_softcap=2.0, logit_softcap=1.5, **WIDE, **WINDOW
    ),
    "windows": Gemma3Model(family="gemma3", layers=2, full_every=2, local_rope_base=100.0, **WIDE, **WINDOW),
    "biases": Qwen2Model(family="qwen2", layers=1, norm_eps=1e-6, tied=False, **WIDE),
    "norm of all heads": Olmo2Model(family="olmo2", layers=1, norm_eps=1e-6, tied=False, **WIDE),
    "probabilities": Qwen3MoeModel(
        family="qwen3_moe", layers=1, head_dim=16, experts=4, active_experts=2, expert_ffn=16, norm_eps=1e-6,
        tied=False, **WIDE,
    ),
}  # fmt: skip
ROWS = "windows in whole rows"  # documents see each other
KINDS = (*stages.KINDS, "z-loss and average", *FAMILIES, ROWS)


@dataclass(frozen=True)
class Way:
    """How a stage is executed: in which precision, by whose kernels, with which promise."""

    name: str
    precision: stages.Precision
    determinism: Literal["exact", "fast"]
    activations: Literal["kept", "recomputed"]
    has: frozenset[choice.Feature] = frozenset()  # what this torch and GPU have
    apex: bool = False
    chunks: bool = False  # the loss in chunks, which only long rows need
    kinds: tuple[str, ...] = KINDS  # those whose operations the way changes; at night all


HOPPER: frozenset[choice.Feature] = frozenset({"flash_varlen", "grouped_mm"})
WAYS = (
    Way("exact", "torch-bf16", "exact", "recomputed", HOPPER),
    Way("exact, Apex", "torch-bf16", "exact", "kept", HOPPER, True, True, ("next_token",)),
    Way("fast, an A100", "torch-bf16", "fast", "kept", frozenset({"flash_varlen"}), kinds=("moe", "windows")),
    Way("fp32", "torch-fp32", "exact", "recomputed", HOPPER, chunks=True, kinds=("sft", "probabilities")),
)


def make(kind: str) -> Stage:
    """The tiny stage of a kind."""
    if kind == ROWS:
        made = tiny.stage({"llm": FAMILIES["windows"]}, (tiny.phase("next_token", document_mask=False),), ("llm",))
    elif kind in FAMILIES:
        router = Router(bias_update=0.0, aux_loss=1e-4) if kind == "probabilities" else None
        made = tiny.stage({"llm": FAMILIES[kind]}, (tiny.phase("next_token", router=router),), ("llm",))
    elif kind == "z-loss and average":
        made = tiny.make("next_token")
        optimizer = tiny.ADAMW.model_copy(update={"ema": 0.5})
        phases = tuple(phase.model_copy(update={"z_loss": 1e-4}) for phase in made.phases)
        made = made.model_copy(update={"optimizer": optimizer, "phases": phases})
    else:
        made = tiny.make(kind)
    return made


def shorter(made: Stage) -> Stage:
    """One step of it, without what only repeats: a third loop, Newton-Schulz iterations after the first."""
    (phase,) = made.phases
    if phase.loops is not None:
        made = made.model_copy(update={"phases": (phase.model_copy(update={"loops": Loops(count=2, beta=0.1)}),)})
    if isinstance(made.optimizer, Muon):
        made = made.model_copy(update={"optimizer": made.optimizer.model_copy(update={"newton_schulz_steps": 1})})
    return stages.cut(made, 1)


def trace(kind: str, way: Way, mode: FakeTensorMode) -> Counter[str]:
    """A step of a stage; operations on the GPU by name. Raises what torch or `Watch` find wrong with one of them."""
    stage = stages.on(shorter(make(kind)), GPU, way.precision, determinism=way.determinism, activations=way.activations)
    with as_on_a_gpu(way), mode:
        modules = build(stage, "cuda")
        recompute(modules, stage.execution.recomputes)
        optimizer, objective = begin(stage, modules, GPU)
        checksum.on_gpu(optimizer.parameters[0])  # the table of weights is made once
        with closing(objective), deterministic(stage.execution), Watch() as watch:
            gradients, values = gather(optimizer, objective, ledger.step_at(stage.phases[0], 0))
            clipped = optimizer.clip(gradients)
            numbers = torch.stack([values[0], clipped.norm, *values[1:]])
            parts = (*Others(modules, optimizer, ALONE).parts(), *optimizer.owned_gradients(gradients))
            words = torch.stack([checksum.on_gpu(part, start) for _, part, start in (*parts, *optimizer.owned())])
            optimizer.step(clipped, 1e-3, stage.phases[0].budget)
            objective.finish()
        on_it(numbers, words, *gradients, *(part for _, part, _ in optimizer.owned()), *modules.parameters())
    return watch.counts


def on_it(*tensors: Tensor) -> None:
    """That all are on the GPU."""
    for tensor in tensors:
        if tensor.device.type != "cuda":
            raise FoundError(f"{list(tensor.shape)} is on {tensor.device} after the step")


@contextmanager
def as_on_a_gpu(way: Way) -> Iterator[None]:
    """What torch and the machine would say; nothing of models/ or train/ but the width of chunks is changed."""
    mocked: dict[tuple[Any, str], Any] = {
        (choice, "features"): lambda: way.has,
        (choice, "_properties"): lambda device: SimpleNamespace(multi_processor_count=132),
        (prefetch, "helps"): lambda device: False,  # a thread has no fake tensors
        (torch.Tensor, "pin_memory"): pinned,
        (torch.cuda, "is_bf16_supported"): lambda *_: True,
        (torch.cuda.amp.common, "amp_definitely_not_available"): lambda: False,
        (F, "scaled_dot_product_attention"): fused_attention,
        (functional, "apex"): lambda operation: APEX.get(operation) if way.apex else None,
        (multi_tensor, "apex"): lambda operation: APEX.get(operation) if way.apex else None,
    }
    if way.chunks:
        mocked |= {(head, "WHOLE"): 0, (head, "ON_GPU"): tiny.VOCAB * head.FEWEST}
    if "grouped_mm" not in way.has or way.precision == "torch-fp32":
        mocked[experts, "by_expert"] = evenly  # which waits for the sizes
    with ExitStack() as stack:
        for (where, name), value in mocked.items():
            stack.enter_context(patch.object(where, name, value))
        yield


def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """SDPA by the kernel that a GPU chooses: FlashAttention in bf16 without a mask, the efficient one otherwise."""
    if attn_mask is None and q.dtype == torch.bfloat16 and q.shape[-1] % 8 == 0:
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, False, scale=scale)[0]
    if k.shape[1] != q.shape[1]:
        raise FoundError("the efficient kernel has no groups of heads: all scores would be kept")
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill_(~attn_mask, -torch.inf)
        elif attn_mask.dtype != q.dtype:
            raise FoundError(f"a mask of {attn_mask.dtype} for queries of {q.dtype}")
        attn_mask = attn_mask.expand(*q.shape[:3], k.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    return kernel(q, k, v, attn_mask, q.requires_grad, dropout_p, is_causal, scale=scale)[0]


def evenly(chosen_P: Tensor, count: int) -> experts.Layout:
    """`experts.by_expert` as if every expert took as many tokens: what a GPU would be asked for."""
    sizes = [-(-len(chosen_P) // count // experts.BLOCK) * experts.BLOCK] * count
    counts_E = experts.tally(chosen_P, count)
    sizes_E = (counts_E + experts.BLOCK - 1) // experts.BLOCK * experts.BLOCK
    return experts._lay_out(chosen_P, counts_E, sizes_E, sum(sizes), sizes)


class Loss(torch.autograd.Function):
    """Apex's cross entropy, as it is called: fp32 logits, labels that name a word."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, smoothing: float, padding: int, widen: bool) -> Tensor:
        ctx.save_for_backward(logits, labels)
        return F.cross_entropy(logits, labels, reduction="none")

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        logits, labels = ctx.saved_tensors
        return grads[0][:, None] * (logits.softmax(-1) - F.one_hot(labels, logits.shape[1])), None, None, None, None


def normed(x: Tensor, weight: Tensor, shape: torch.Size, eps: float) -> Tensor:
    """Apex's RMSNorm, as it is called."""
    if x.dtype != weight.dtype or weight.shape != shape:
        raise FoundError(f"Apex's RMSNorm of {x.dtype} with a gain of {weight.dtype}")
    return F.rms_norm(x, shape, weight, eps)


APEX: dict[str, Any] = {
    "rms_norm": SimpleNamespace(fused_rms_norm_affine=normed),
    "cross_entropy": SimpleNamespace(SoftmaxCrossEntropyLoss=Loss),
    **dict.fromkeys(("adamw", "global_norm", "scale"), Amp("amp_C")),
}
