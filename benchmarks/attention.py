"""Packed attention by layout against a dense mask, and tokens/s of small models; one thread, forward and backward.

Run: python benchmarks/attention.py
"""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models import ops
from stages.models.attention import attend
from stages.models.build import initialise, make
from stages.models.documents import Documents
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import Rope

TOKENS = 4096
CPU = torch.device("cpu")
SHARED: dict[str, Any] = {
    "hidden": 64, "ffn": 176, "heads": 4, "vocab": 2048, "norm_eps": 1e-5, "tied": False, "init_std": 0.02,
}  # fmt: skip
MODELS = {
    "llama": LlamaModel(family="llama", layers=2, kv_heads=2, head_dim=16, **SHARED),
    "moonlight": MoonlightModel(
        family="moonlight", layers=3, dense_layers=1, kv_lora_rank=32, qk_nope_dim=16, qk_rope_dim=8, v_head_dim=16,
        experts=8, active_experts=2, shared_experts=1, expert_ffn=48, routed_scale=2.446, **SHARED,
    ),
}  # fmt: skip


def documents(length: int, mean: int) -> Tensor:
    """Segments [TOKENS / length, length] with exponentially distributed document lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.empty(TOKENS).exponential_(1 / mean, generator=generator).long() + 1
    numbers = torch.repeat_interleave(torch.arange(TOKENS), lengths)[:TOKENS]
    return numbers.view(-1, length).int()


def best(function: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def dense(q: Tensor, k: Tensor, v: Tensor, segments: Tensor) -> Tensor:
    mask = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.25).transpose(1, 2)


def compare(length: int, mean: int) -> None:
    segments = documents(length, mean)
    q, k, v = (torch.randn(*segments.shape, 4, 16, requires_grad=True) for _ in range(3))
    laid_out = best(lambda: attend(q, k, v, Documents(segments.numpy(), CPU), 0.25).sum().backward())
    masked = best(lambda: dense(q, k, v, segments).sum().backward())
    print(f"attention T={length} documents~{mean}: laid out {laid_out:.1f} ms, dense mask {masked:.1f} ms", flush=True)


def speed(name: str, length: int, mean: int | None) -> None:
    cfg = MODELS[name]
    model = make(cfg, Rope(base=10_000.0, llama3=None, interpolation=1.0), "cpu")
    initialise(model, "llm", cfg, 1)
    rows = Documents(documents(length, mean).numpy(), CPU) if mean is not None else None
    tokens = torch.randint(0, cfg.vocab, (TOKENS // length, length))
    positions = torch.arange(length).expand_as(tokens)

    def step() -> None:
        logits = model.logits(model(tokens, positions, rows, None))
        ops.cross_entropy(logits.flatten(0, 1), tokens.flatten()).mean().backward()

    print(f"{name} T={length} documents~{mean}: {TOKENS / best(step) * 1e3:,.0f} tokens/s", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for length in (128, 256, 512, 1024, 4096):
        for mean in (60, length // 2):
            compare(length, mean)
    for name in MODELS:
        for length in (128, 1024, 4096):
            for documents_of in (None, 60):
                speed(name, length, documents_of)
