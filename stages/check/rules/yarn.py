"""Which figures of YaRN fit together: a part of I-11."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.contract.rope import bands
from stages.spec.decoder import Latent
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope, Yarn

OF_SCORES = (
    "attention_factor",
    "mscale",
    "mscale_all_dim",
)  # what queries and keys are multiplied by follows from them


def wrong_yarn(rope: Rope, yarn: Yarn, dim: int) -> str | None:
    """What is wrong with a YaRN on so many rotated dimensions; None where nothing is."""
    if rope.llama3 is not None or rope.interpolation != 1:
        return "yarn beside llama3 scaling or an interpolation, in whose place it stands"
    if yarn.factor < 1 or not 0 < yarn.beta_slow < yarn.beta_fast:
        return f"yarn by {yarn.factor:g} between {yarn.beta_slow:g} (beta_slow) and {yarn.beta_fast:g} (beta_fast)"
    kept, blended, scaled = bands(yarn, rope.base, dim)
    if not blended + scaled:
        return f"yarn that leaves all {kept} pairs as they are: none turns so little within {yarn.original:,} positions"
    return None


def rescaled(before: Rope, after: Rope) -> str:
    """What of YaRN's factors of scores changes where nothing else of two positions does: "mscale none, after 1"."""
    old, new = before.yarn, after.yarn
    if old is None or new is None or old == new:
        return ""
    same = old.model_copy(update={key: getattr(new, key) for key in OF_SCORES})
    changed = [key for key in OF_SCORES if getattr(old, key) != getattr(new, key)]
    words = (f"{key} {_written(getattr(new, key))}, after {_written(getattr(old, key))}" for key in changed)
    return "; ".join(words) if after == before.model_copy(update={"yarn": same}) else ""


def _written(factor: float | None) -> str:
    return "none" if factor is None else f"{factor:g}"


def without_effect(context: Context, name: str, stage: Stage, yarn: Yarn) -> Iterator[Finding]:
    """Figures that are stated and change nothing, here or in transformers."""
    models = [one.parts for one in stage.modules.values() if isinstance(one, LanguageModel)]
    latent = any(isinstance(layer.attention, Latent) for model in models for layer in model.layers)
    if not yarn.truncate and any(model.local_base is not None for model in models):
        yield context.finding(
            "I-11", name, ("rope", "yarn", "truncate"),
            observed="false, for a model whose layers differ in their positions", expected="true",
            repair="Say `truncate: true`: transformers 5 reads none in such a model's config.json, and truncates.",
        )  # fmt: skip
    both = yarn.mscale is not None and yarn.mscale_all_dim is not None
    if yarn.mscale is not None and (yarn.attention_factor is not None or not both):
        what, why = "mscale", "`attention_factor` is stated" if both else "`mscale_all_dim` is none"
    elif yarn.mscale_all_dim is not None and not latent and (yarn.attention_factor is not None or not both):
        what, why = "mscale_all_dim", "only latent attention has a use for it alone"
    else:
        return
    yield context.finding(
        "I-11", name, ("rope", "yarn", what),
        observed=f"{what} {getattr(yarn, what):g}, without effect: {why}", expected="none",
        repair="State `attention_factor`, or both mscales, or none of them (0.1 ln(factor) + 1 is taken then).",
    )  # fmt: skip
