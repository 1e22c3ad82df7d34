"""What a model's figures switch on: experts, windows, grouped queries. I-35 compares them between scales."""

from __future__ import annotations

from collections.abc import Iterator

from stages.spec.decoder import Decoder, Dense, Grouped
from stages.spec.language_model import LanguageModel
from stages.spec.resolved_models import Model, ProjectorModel


def mechanisms(model: Model) -> set[str]:
    """What a model's figures switch on; a smaller one keeps all of it."""
    found: set[str] = {model.family}
    if isinstance(model, LanguageModel):
        found |= set(_of_decoder(model.parts))
    if isinstance(model, ProjectorModel) and model.merge > 1:
        found.add(f"{model.merge} x {model.merge} pixel shuffle")
    return found


def _of_decoder(model: Decoder) -> Iterator[str]:
    mixture = model.mixture
    yield "embeddings that are its head too" if model.tied else "a head of its own"
    if any(isinstance(one, Grouped) and one.kv_heads < one.heads for one in model.attentions):
        yield "grouped-query attention"
    if mixture is not None:
        yield "layers with experts"
        if mixture.active < mixture.experts:
            yield "routed experts"
        if mixture.active > 1:
            yield "several experts a token"
        if mixture.shared:
            yield "shared experts"
        if any(isinstance(one, Dense) for one in model.feed_forwards):
            yield "dense layers"
    if not all(one.turned for one in model.attentions):
        yield "layers that have no positions"
    windows = set(model.windows)
    if windows != {None}:
        yield "layers with a window"
        if None in windows:
            yield "layers that see all keys"


def inert(model: Model) -> Iterator[tuple[str, str, str]]:
    """Figures that name a mechanism and switch it off: (key, what follows from it, what is expected)."""
    for key in ("nope_every", "full_every"):
        every, layers = getattr(model, key, None), getattr(model, "layers", 0)
        if every is not None and not 1 < every <= layers:
            yield key, f"{'every' if every == 1 else 'none'} of {layers} layers", f"2 to {layers}"
    mixture = model.parts.mixture if isinstance(model, LanguageModel) else None
    if mixture is not None and mixture.active == mixture.experts:
        yield "active_experts", f"every token takes all {mixture.experts}", f"less than {mixture.experts}"
