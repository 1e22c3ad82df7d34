"""Figures of models that no published model has: S-15."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.errors import Where


@dataclass(frozen=True)
class Usual:
    """From where to where a figure lies in published models or recipes, with a margin; `seen` says what they have."""

    least: float
    most: float
    seen: str


USUAL: Mapping[str, Usual] = {
    # BERT has 1e-12 (arXiv 1810.04805, its released code); what squares of activations come to is far above 1e-5.
    "norm_eps": Usual(1e-12, 1e-4, "1e-5 and 1e-6, BERT 1e-12"),
    # Of weights that sum to 1 over k experts, the factor that keeps the size of what one part of the same kind would
    # give is at most sqrt(k): arXiv 2502.16982 has 2.446 of 6, 2412.19437 has 2.5 of 8. DeepSeek-V2's 16 is of weights
    # that do not sum to 1, which no family here has.
    "routed_scale": Usual(0.5, 5.0, "1 to 2.83 where the weights of a token's experts sum to 1"),
    # Most 0.02, arXiv 2412.19437 has 0.006, 2404.06395 has 0.1.
    "init_std": Usual(0.001, 0.15, "0.006 to 0.1"),
    # Of language models it is a stage's (I-29); this is of vision towers: arXiv 2504.07491 and 2409.12191.
    "rope_base": Usual(1e3, 1e5, "10,000 for pictures"),
    # arXiv 2303.15343 begins at -10, 2103.00020 at the logarithm of 14.3.
    "init_bias": Usual(-20.0, 0.0, "-10"),
    "init_log_temperature": Usual(1.0, 5.0, "2.3 and 2.7"),
}


@static(
    "S-15",
    title="A model's figures are ones that some model has",
    rule="A norm_eps lies between 1e-12 and 1e-4, a routed_scale between 0.5 and 5, an init_std between 0.001 and "
    "0.15 (or 1 / sqrt(hidden), where that is more), a vision tower's rope_base between 1,000 and 100,000, an "
    "init_bias between -20 and 0, an init_log_temperature between 1 and 5.",
    why="A digit too many, or an exponent of another figure, trains: a model that begins at other sizes than it is "
    "meant to shows in its loss alone.",
    threads=(),
)
def figures_are_plausible(context: Context) -> Iterator[Finding]:
    """S-15, of models as pipeline.yaml writes them; at a smaller scale, of what its own file changes in them."""
    for name, model in context.loaded.raw.models.items():
        here = context.shrink.shrink.models.get(name, {}) if context.shrink.shrink is not None else model
        for key, usual in USUAL.items():
            value, most = here.get(key), usual.most
            if key == "init_std":
                most = max(most, _natural({**model, **here}))
            if not isinstance(value, float) or usual.least <= value <= most:
                continue
            where = _where(context, name, key)
            if context.shrink.pipeline == context.loaded.name if context.shrink.shrink else context.writes(where):
                yield context.of_pipeline(
                    "S-15", f"models.{name}.{key}", observed=f"{key} {value:g}",
                    expected=f"{usual.least:g} to {most:.3g}; published models have {usual.seen}",
                    repair="Correct it, or waive this with its reason.", where=where, found=Fraction(str(value)),
                )  # fmt: skip


def _natural(model: Mapping[str, object]) -> float:
    """The init_std that keeps the size of what a matrix is given, which is large in a narrow model."""
    hidden = model.get("hidden")
    return 1 / sqrt(hidden) if isinstance(hidden, int) and hidden > 0 else 0.0


def _where(context: Context, name: str, key: str) -> Where:
    if context.shrink.shrink is None:
        return context.loaded.document.where(("models", name, key))
    return context.shrink.document.where(("pipelines", context.shrink.pipeline, "models", name, key))
