"""Anchors of a scale: what a published budget becomes there, which is never more."""

from __future__ import annotations

from collections.abc import Iterator

from stages.errors import SpecError
from stages.spec.nodes import Document
from stages.spec.schema.data import RawScale
from stages.spec.units import format_tokens


def exchanged(scale: RawScale, document: Document) -> Iterator[SpecError]:
    """Entries whose budgets at the scale are larger than the published ones: the two are the wrong way round."""
    for pipeline, shrink in (scale.pipelines or {}).items():
        if shrink is not None and shrink.tokens.anchor.here > shrink.tokens.anchor.paper:
            here, paper = (format_tokens(one) for one in (shrink.tokens.anchor.here, shrink.tokens.anchor.paper))
            at = ("pipelines", pipeline, "tokens", "anchor", "here")
            found = f"{here}, which is more than the published {paper}"
            yield document.error(at, found, "at most the published budget", "Exchange the two.")
