"""What of a scale is seldom meant: rates below the published ones, embeddings or resolutions that there are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from stages.errors import SpecError, SpecErrors
from stages.spec.language_model import LanguageModel
from stages.spec.project import Project

LEAST_LR = Fraction(1, 2)
MANY = 2  # times the tokenizer's tokens: published tables are longer by 5% at most


def lower_rates(project: Project, scale: str) -> Iterator[str]:
    """A notice for each entry of a scale that lowers the rates of narrower models, which are trained at higher ones."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(SpecError, SpecErrors):  # which are findings
            entry = project.shrink(name, scale)
            if entry.shrink is not None and entry.shrink.lr < LEAST_LR:
                where = entry.document.where(("pipelines", entry.pipeline, "lr"))
                yield f"{where}: {name} is trained at {entry.shrink.lr} of its published rates."


def idle_resolution(project: Project, scale: str) -> Iterator[str]:
    """A notice for each entry with a factor for resolutions, of which its pipeline has none."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(SpecError, SpecErrors):
            entry, stages = project.shrink(name, scale), project.resolve(name, scale).stages.values()
            read = any(phase.coca is not None for stage in stages for phase in stage.phases)
            if entry.shrink is not None and entry.shrink.resolution is not None and not read:
                where = entry.document.where(("pipelines", entry.pipeline, "resolution"))
                yield f"{where}: no phase of {name} has `resolutions`; other pictures are as their corpora have them."


def idle_rows(project: Project, scale: str) -> Iterator[str]:
    """A notice for each pipeline with a table of embeddings of which half or more are of no token."""
    for name in project.pipelines(variants=False, scale=scale):
        with suppress(SpecError, SpecErrors):
            for stage in project.resolve(name, scale).stages.values():
                tokens = project.data.tokens(stage.tokenizer)
                rows = max((one.vocab for one in stage.modules.values() if isinstance(one, LanguageModel)), default=0)
                if tokens is not None and rows >= MANY * tokens:
                    document = project.shrink(name, scale).document
                    at = document if ("vocab",) in document.places else project.loaded(name).document
                    where = at.where(("vocab",) if at is document else ("models",))
                    yield f"{where}: {name} has embeddings of {rows:,} tokens, and its tokenizer has {tokens:,}."
                    break
