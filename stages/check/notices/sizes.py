"""Sizes of models that no published model has: notices, since anything may be tried."""

from __future__ import annotations

from collections.abc import Iterator

from stages.spec.loader import LoadedPipeline

# Matrices whose sides are multiples of 8 are what GPUs multiply without padding, and all that are released have them.
WIDTHS = ("hidden", "ffn", "head_dim", "kv_lora_rank", "qk_nope_dim", "qk_rope_dim", "v_head_dim", "expert_ffn")
MULTIPLE = 8


def unusual(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each width of a model that is no multiple of 8, and for routers that leave out less than half."""
    for name, model in loaded.raw.models.items():
        at = ("models", name)
        for key in WIDTHS:
            if isinstance(size := model.get(key), int) and size > MULTIPLE and size % MULTIPLE:
                yield f"{loaded.document.where((*at, key))}: {name}: {key} {size:,} is no multiple of {MULTIPLE}."
        experts, active = model.get("experts"), model.get("active_experts")
        if isinstance(experts, int) and isinstance(active, int) and experts < 2 * active:
            where = loaded.document.where((*at, "active_experts"))
            yield f"{where}: {name}: a token is given {active} of {experts} experts, more than half of them."
