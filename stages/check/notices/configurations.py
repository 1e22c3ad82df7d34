"""Figures that are said to be a published model's, beside its config.json: a digit that was lost, or another model's.

`parameters` sees a size alone, and no count sees heads, a rotary base or an epsilon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from stages.spec import quantities
from stages.spec.loader import LoadedPipeline
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Document, Path, Tree
from stages.spec.schema.stages import RawImport
from stages.spec.sources import figures, origins

FILE = "config.json"
ROPE = "rope"
WORD = re.compile(r"[\w./-]+")
# What a name may end in beside the same figures: tuned models, and towers that were trained on other resolutions.
TUNED = re.compile(r"-(Instruct|Base|hf|it|[2-5]\d\d)$")

Figures = Mapping[str, str]


def _model(layers: int, hidden: int, ffn: int, heads: int, kv: int, vocab: int, eps: str, head: int = 0) -> Figures:
    """The sizes of a language model, as the families name them."""
    sizes = {"layers": layers, "hidden": hidden, "ffn": ffn, "heads": heads, "kv_heads": kv, "vocab": vocab}
    return {key: str(size) for key, size in sizes.items()} | {"norm_eps": eps, "head_dim": str(head or hidden // heads)}


def _rope(base: str) -> Figures:
    return {"base": base, "interpolation": "1"}


def _llama(factor: int, *sizes: int) -> Mapping[str, Figures]:
    scaled = {"llama3.factor": str(factor), "llama3.low": "1", "llama3.high": "4", "llama3.original": "8Ki"}
    layers, hidden, ffn, heads = sizes
    model = _model(layers, hidden, ffn, heads, 8, 128_256, "1e-5")
    return {"llama": model, ROPE: {**_rope("500_000"), **scaled}}


def _qwen2(layers: int, hidden: int, ffn: int, heads: int, kv: int, vocab: int, eps: str) -> Mapping[str, Figures]:
    return {"qwen2": _model(layers, hidden, ffn, heads, kv, vocab, eps), ROPE: _rope("1_000_000")}


def _qwen3(layers: int, hidden: int, ffn: int, heads: int) -> Mapping[str, Figures]:
    return {"qwen3": _model(layers, hidden, ffn, heads, 8, 151_936, "1e-6", 128), ROPE: _rope("1_000_000")}


def _siglip(layers: int, hidden: int, ffn: int, heads: int, patch: int, vocab: int) -> Mapping[str, Figures]:
    tower = {"layers": str(layers), "hidden": str(hidden), "ffn": str(ffn), "heads": str(heads)}
    head = {key: size for key, size in tower.items() if key != "layers"}
    text = {**tower, "vocab": str(vocab)}
    return {"moonvit": {**tower, "patch": str(patch)}, "text_tower": text, "contrastive": head}


MOONLIGHT: Figures = {
    "layers": "27", "dense_layers": "1", "hidden": "2048", "ffn": "11_264", "heads": "16", "vocab": "163_840",
    "kv_lora_rank": "512", "qk_nope_dim": "128", "qk_rope_dim": "64", "v_head_dim": "128", "experts": "64",
    "active_experts": "6", "shared_experts": "2", "expert_ffn": "1408", "routed_scale": "2.446", "norm_eps": "1e-5",
}  # fmt: skip
MOONVIT: Figures = {"layers": "27", "hidden": "1152", "ffn": "4304", "heads": "16", "patch": "14", "table": "64"}

# By the last part of the hub's id: the figures of its config.json, by the family that has them here.
PUBLISHED: Mapping[str, Mapping[str, Figures]] = {
    "Llama-3.1-8B": _llama(8, 32, 4096, 14_336, 32),
    "Llama-3.1-70B": _llama(8, 80, 8192, 28_672, 64),
    "Llama-3.2-1B": _llama(32, 16, 2048, 8192, 32),
    "Llama-3.2-3B": _llama(32, 28, 3072, 8192, 24),
    "Qwen2.5-0.5B": _qwen2(24, 896, 4864, 14, 2, 151_936, "1e-6"),
    "Qwen2.5-1.5B": _qwen2(28, 1536, 8960, 12, 2, 151_936, "1e-6"),
    "Qwen2.5-3B": _qwen2(36, 2048, 11_008, 16, 2, 151_936, "1e-6"),
    "Qwen2.5-7B": _qwen2(28, 3584, 18_944, 28, 4, 152_064, "1e-6"),
    "Qwen2.5-14B": _qwen2(48, 5120, 13_824, 40, 8, 152_064, "1e-5"),
    "Qwen2.5-32B": _qwen2(64, 5120, 27_648, 40, 8, 152_064, "1e-5"),
    "Qwen2.5-72B": _qwen2(80, 8192, 29_568, 64, 8, 152_064, "1e-5"),
    "Qwen3-0.6B": _qwen3(28, 1024, 3072, 16),
    "Qwen3-1.7B": _qwen3(28, 2048, 6144, 16),
    "Qwen3-4B": _qwen3(36, 2560, 9728, 32),
    "Qwen3-8B": _qwen3(36, 4096, 12_288, 32),
    "Qwen3-14B": _qwen3(40, 5120, 17_408, 40),
    "Qwen3-32B": _qwen3(64, 5120, 25_600, 64),
    "Qwen3-30B-A3B": {
        "qwen3_moe": {**_model(48, 2048, 6144, 32, 4, 151_936, "1e-6", 128), "experts": "128", "active_experts": "8",
                      "expert_ffn": "768"},
        ROPE: _rope("1_000_000"),
    },
    "OLMo-2-1124-7B": {"olmo2": _model(32, 4096, 11_008, 32, 32, 100_352, "1e-6"), ROPE: _rope("500_000")},
    "OLMo-2-1124-13B": {"olmo2": _model(40, 5120, 13_824, 40, 40, 100_352, "1e-6"), ROPE: _rope("500_000")},
    "SmolLM2-135M": {"llama": _model(30, 576, 1536, 9, 3, 49_152, "1e-5"), ROPE: _rope("100_000")},
    "SmolLM2-360M": {"llama": _model(32, 960, 2560, 15, 5, 49_152, "1e-5"), ROPE: _rope("100_000")},
    "SmolLM2-1.7B": {"llama": _model(24, 2048, 8192, 32, 32, 49_152, "1e-5"), ROPE: _rope("130_000")},
    "Mistral-7B-v0.1": {
        "mistral": {**_model(32, 4096, 14_336, 32, 8, 32_000, "1e-5"), "window": "4096"},
        ROPE: _rope("10_000"),
    },
    "siglip-base-patch16": _siglip(12, 768, 3072, 12, 16, 32_000),
    "siglip-large-patch16": _siglip(24, 1024, 4096, 16, 16, 32_000),
    "siglip-so400m-patch14": _siglip(27, 1152, 4304, 16, 14, 32_000),
    "siglip2-base-patch16": _siglip(12, 768, 3072, 12, 16, 256_000),
    "siglip2-large-patch16": _siglip(24, 1024, 4096, 16, 16, 256_000),
    "siglip2-so400m-patch14": _siglip(27, 1152, 4304, 16, 14, 256_000),
    "Moonlight-16B-A3B": {"moonlight": MOONLIGHT, ROPE: _rope("50_000")},
    "Kimi-VL-A3B": {"moonlight": MOONLIGHT, "moonvit": MOONVIT, ROPE: _rope("800_000")},
    "Ouro-1.4B": {"ouro": _model(24, 2048, 5632, 16, 16, 49_152, "1e-6"), ROPE: _rope("1_000_000")},
    "Ouro-2.6B": {"ouro": _model(48, 2048, 5632, 16, 16, 49_152, "1e-6"), ROPE: _rope("1_000_000")},
}  # fmt: skip


def other_figures(loaded: LoadedPipeline, data: LoadedData) -> Iterator[str]:
    """A notice for each figure of a model, or of its rotary positions, that its cited config.json does not have."""
    released = dict(_released(loaded, data))
    for name, model in loaded.raw.models.items():
        tree, cited = _leaves(loaded.document.value["models"][name]), _cited(loaded.document, ("models", name))
        for key, text in tree.items():
            names = [released[name]] if name in released else cited.get(key, [])
            yield from _other(loaded.document, ("models", name), key, text, names, str(model.get("family")))
    for stage in loaded.stages.values():
        if ROPE not in stage.document.value:
            continue
        own = released.get(next(iter(stage.raw.modules.values()))) if isinstance(stage.raw, RawImport) else None
        cited = _cited(stage.document, (ROPE,))
        tree = _leaves(stage.document.value[ROPE])
        scaled = {key.partition(".")[0] for key in PUBLISHED[own][ROPE] if "." in key} if own else set()
        for key in scaled - {one.partition(".")[0] for one in tree}:
            where = stage.document.where((ROPE, key))
            yield f"{where}: {ROPE}.{key} is none, and the published {FILE} has it ({own})."
        for key, text in tree.items():
            yield from _other(stage.document, (ROPE,), key, text, [own] if own else cited.get(key, []), ROPE)


def _other(document: Document, at: Path, key: str, text: str, names: list[str], family: str) -> Iterator[str]:
    """Of a figure and the models in one of whose config.json it should be."""
    known = {name: PUBLISHED[name][family][key] for name in names if key in PUBLISHED[name].get(family, {})}
    if known and not any(quantities.same(text, one) for one in known.values()):
        figure = ".".join([*(str(part) for part in at), key])
        said = " and ".join(f"{own} ({name})" for name, own in known.items())
        yield f"{document.where((*at, *key.split('.')))}: {figure} is {text}, and the published {FILE} has {said}."


def _released(loaded: LoadedPipeline, data: LoadedData) -> Iterator[tuple[str, str]]:
    """(model, published name) of each model that comes from a release."""
    for found in loaded.releases.values():
        for _, release, model in found:
            source = data.releases[release].source if release in data.releases else ""
            if name := next(_names(source), None):
                yield model, name


def _cited(document: Document, below: Path) -> dict[str, list[str]]:
    """The published models whose config.json the source of each figure cites, by the figure's path below another."""
    found: dict[str, list[str]] = {}
    for path, entry in origins(document.value):
        if path[: len(below)] == below and entry["mark"] == "published" and FILE in str(entry.get("citation")):
            found[".".join(str(part) for part in path[len(below) :])] = list(_names(str(entry["citation"])))
    return found


def _names(text: str) -> Iterator[str]:
    for word in WORD.findall(text):
        name = TUNED.sub("", word.rpartition("/")[2].removeprefix("Meta-"))
        if name in PUBLISHED:
            yield name


def _leaves(tree: Tree) -> dict[str, str]:
    """Every figure below a key, by its path with points."""
    return {".".join(str(part) for part in path): text for path, _, text in figures(tree)}
