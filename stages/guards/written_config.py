"""Guard of the written config.json: what other software makes of its rotary positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from stages.check.findings import Finding
from stages.contract import rope
from stages.guards.findings import finding
from stages.guards.report import ConfigReport
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope

TOLERANCE = 1e-5  # relative, of figures from decimal text


def written_config(stage: Stage, config: ConfigReport) -> Iterator[Finding]:
    """I-14: the written config.json declares the lineage's longest context and gives the same positions."""
    if config.max_position != stage.max_context:
        yield finding(
            stage, "I-14", at="max_context", observed=f"max_position_embeddings {config.max_position:,}",
            expected=f"{stage.max_context:,}", repair="Write the longest context of the lineage under this RoPE.",
        )  # fmt: skip
    if stage.rope is None:
        return
    expected, found = rope.inv_freq(stage.rope, config.rotary_dim), config_frequencies(config)
    factors = (rope.attention_factor(stage.rope), rope.score_factor(stage.rope)), config_factors(config)
    pairs = zip((*found, *factors[1]), (*expected, *factors[0]), strict=True)
    if any(abs(a - b) > TOLERANCE * b for a, b in pairs):
        yield finding(
            stage, "I-14", at="max_context",
            observed=f"rope_theta {config.rope_theta:g}, rope_scaling {config.rope_scaling}",
            expected=str(stage.rope), repair="Write base and scaling of this stage, not of its parent.",
        )  # fmt: skip


def config_frequencies(config: ConfigReport) -> list[float]:
    """Frequencies as transformers derives them from rope_theta and rope_scaling (modeling_rope_utils)."""
    raw = config.rope_scaling or {"rope_type": "default"}

    def number(key: str) -> float:
        return float(str(raw[key]))

    plain = rope.inv_freq(Rope(base=config.rope_theta, llama3=None, interpolation=1.0), config.rotary_dim)
    kind = _kind(raw)
    if kind == "linear":
        return [frequency / number("factor") for frequency in plain]
    if kind == "longrope":
        factors = raw["long_factor"]
        assert isinstance(factors, list)
        return [frequency / factor for frequency, factor in zip(plain, factors, strict=True)]
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        turns = [number("original_max_position_embeddings") * frequency / (2 * math.pi) for frequency in plain]
        smooth = [min(1.0, max(0.0, (turn - low) / (high - low))) for turn in turns]
        return [f * (s + (1 - s) / number("factor")) for f, s in zip(plain, smooth, strict=True)]
    if kind == "yarn":
        return _yarn(plain, config, raw)
    return plain


def config_factors(config: ConfigReport) -> tuple[float, float]:
    """What transformers multiplies queries and keys by, each, and latent attention's scores, with YaRN; else 1."""
    raw = config.rope_scaling or {}
    if _kind(raw) != "yarn":
        return 1.0, 1.0
    grown = math.log(float(str(raw["factor"])))
    rotated, whole = (1 + 0.1 * grown * float(str(raw.get(key) or 0.0)) for key in ("mscale", "mscale_all_dim"))
    given, both = raw.get("attention_factor"), raw.get("mscale") and raw.get("mscale_all_dim")
    return (float(str(given)) if given else rotated / whole if both else 1 + 0.1 * grown), whole**2


def _kind(raw: Mapping[str, object]) -> object:
    return raw.get("rope_type", raw.get("type"))


def _yarn(plain: list[float], config: ConfigReport, raw: Mapping[str, object]) -> list[float]:
    """Each frequency between itself and itself over the factor, by where its pair lies between both ends."""
    dim, original = config.rotary_dim, float(str(raw["original_max_position_embeddings"]))
    turns = [float(str(raw[key])) for key in ("beta_fast", "beta_slow")]
    ends = [dim / 2 * math.log(original / (2 * math.pi * one), config.rope_theta) for one in turns]
    if raw.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    first, last = max(ends[0], 0.0), min(ends[1], dim - 1.0)
    slow = [min(1.0, max(0.0, (pair - first) / (last - first or 0.001))) for pair in range(len(plain))]
    return [f * (1 - s + s / float(str(raw["factor"]))) for f, s in zip(plain, slow, strict=True)]
