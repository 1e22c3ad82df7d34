"""Sizes that no published model has, or that nothing reads or compares: notices, since anything may be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stages.spec.loader import LoadedPipeline

# Matrices whose sides are multiples of 8 are what GPUs multiply without padding; nearly all released models have them.
WIDTHS = ("hidden", "ffn", "head_dim", "kv_lora_rank", "qk_nope_dim", "qk_rope_dim", "v_head_dim", "expert_ffn")
MULTIPLE = 8
SMALLEST_STD = 0.003  # MT-NLG 530B (arXiv 2201.11990): sqrt(1 / (3 x 20,480)) is 0.004; DeepSeek-V3 has 0.006
NARROW = 512  # of a miniature's hidden size, whose other sizes are what keeps all mechanisms at work


@dataclass(frozen=True)
class Shape:
    """A ratio of two sizes, or a size (`by` is ""), and where it lies in published models, with a margin."""

    of: str
    by: str
    least: float
    most: float
    models: str


# Loss depends little on any of these shapes near the usual ones (arXiv 2001.08361, section 3.1 and figure 5).
SHAPES = (
    # SmolLM2 135M (huggingface/smollm's config_smollm2_135M.yaml): 576 / 30; BLOOM (arXiv 2211.05100): 14,336 / 70.
    Shape("hidden", "layers", 12, 260, "19 to 205"),
    # MiniCPM (arXiv 2404.06395): 5,760 / 2,304; Gemma 7B (2403.08295): 24,576 / 3,072, one of two halves.
    Shape("ffn", "hidden", 1, 8, "2.5 to 8"),
    # Qwen3-Next-80B-A3B (its config.json): 512 / 2,048; Mixtral (arXiv 2401.04088): 14,336 / 4,096.
    Shape("expert_ffn", "hidden", 1 / 8, 4, "1/4 to 3.5"),
    Shape("head_dim", "", 32, 256, "64 to 256"),
    Shape("hidden", "heads", 32, 256, "64 to 256 in a head"),  # where `head_dim` does not say it
    Shape("v_head_dim", "", 32, 256, "128"),  # arXiv 2405.04434, 2412.19437, 2502.16982
    Shape("qk_nope_dim", "qk_rope_dim", 1, 8, "2: 128 and 64"),
    Shape("patch", "", 8, 32, "14 and 16"),  # arXiv 2010.11929, 2303.15343
)


def unusual(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each width of a model that is no multiple of 8, each shape that no model has, routers that leave out
    less than half, and sizes that no layer reads.
    """
    for name, model in loaded.raw.models.items():
        at = ("models", name)
        for key in WIDTHS:
            if isinstance(size := model.get(key), int) and size > MULTIPLE and size % MULTIPLE:
                yield f"{loaded.document.where((*at, key))}: {name}: {key} {size:,} is no multiple of {MULTIPLE}."
        experts, active = model.get("experts"), model.get("active_experts")
        if isinstance(experts, int) and isinstance(active, int) and experts < 2 * active:
            where = loaded.document.where((*at, "active_experts"))
            yield f"{where}: {name}: a token is given {active} of {experts} experts, more than half of them."
        for key, said in (*_shapes(model), *_unread(model), *_small(model)):
            yield f"{loaded.document.where((*at, key))}: {name}: {said}."


def _shapes(model: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Of a model that is no miniature: the size at fault, and what is said of it."""
    hidden = model.get("hidden")
    if not isinstance(hidden, int) or hidden < NARROW:
        return
    absent = {"heads"} & model.keys() if {"head_dim", "v_head_dim"} & model.keys() else set()
    for one in SHAPES:
        size, by = model.get(one.of), model.get(one.by) if one.by else 1
        experts = one.of == "ffn" and "experts" in model  # of one expert, or of the few layers that have none
        if one.by in absent or experts or not isinstance(size, int) or not isinstance(by, int) or not by:
            continue
        if not one.least <= size / by <= one.most:
            sizes = f"{one.of} {size:,}" + (f" to {one.by} {by:,} is {size / by:.3g}" if one.by else "")
            yield one.by if one.of == "hidden" else one.of, f"{sizes}; published models have {one.models}"


def _unread(model: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The `ffn` of dense layers where all layers have experts: config.json alone has it.

    Qwen3's configs have what a token's experts have together, and a model that was upcycled its parent's.
    """
    ffn, width, active = model.get("ffn"), model.get("expert_ffn"), model.get("active_experts")
    if model.get("dense_layers", 0) != 0 or not isinstance(ffn, int):
        return
    if isinstance(width, int) and isinstance(active, int) and ffn not in (width, active * width):
        usual = f"{active * width:,} (active_experts x expert_ffn) in Qwen3's"
        said = f"ffn {ffn:,} is of no layer, since all have experts, and config.json alone states it: {usual}"
        yield "ffn", f"{said}, {width:,} where a dense model of that width was upcycled"


def _small(model: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """An `init_std` that misses a nought, of a model that is no miniature."""
    hidden, std = model.get("hidden"), model.get("init_std")
    if isinstance(hidden, int) and hidden >= NARROW and isinstance(std, float) and std < SMALLEST_STD:
        yield "init_std", f"init_std {std:g}; published models have 0.004 to 0.04"


def uncounted(loaded: LoadedPipeline) -> Iterator[str]:
    """A notice for each model that starts from released weights and has no published count of parameters."""
    models = {model: release for found in loaded.releases.values() for _, release, model in found}
    for model, release in models.items():
        if model in loaded.raw.models and model not in loaded.raw.parameters:
            where = loaded.document.where(("models", model))
            yield (
                f"{where}: {model} starts from release {release!r}, and `parameters` has no count of it: a slip in its "
                "sizes is not seen before its weights are loaded."
            )
