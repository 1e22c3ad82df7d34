"""What tokens cost: 6 operations a parameter and token, on an H100 at 40% of its dense bf16 peak."""

from __future__ import annotations

from stages.audit.recipe import Stage

FLOPS = 989e12 * 0.4  # a second: the H100's datasheet, and the share that specs/hardware/h100.yaml assumes


def gpu_hours(stage: Stage, tokens: int) -> float | None:
    """Hours of one GPU, None where the model's size is unknown; attention's own products are left out."""
    size = parameters(stage)
    return None if size is None else round(6 * size * tokens / FLOPS / 3600, 1)


def parameters(stage: Stage) -> int | None:
    """Parameters of a dense decoder without its vocabulary, None where a figure is unknown or experts are routed."""
    layers, hidden, ffn = (stage.count(one) for one in ("layers", "hidden", "ffn"))
    heads, dim = stage.count("heads"), stage.count("head_dim")
    if layers is None or hidden is None or ffn is None or heads is None or dim is None or "experts" in stage.values:
        return None
    kv = stage.count("kv_heads") or heads
    attention = 2 * hidden * dim * (heads + kv)
    return layers * (attention + (3 if stage.on("gated") else 2) * hidden * ffn)
