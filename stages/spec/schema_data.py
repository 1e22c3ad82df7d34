"""What specs/data and specs/scales may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from stages.spec import units
from stages.spec.fields import Count, Memory, Minutes, Positive, Ratio, Raw, Share, Steps, Tokens
from stages.spec.schema import RawExecution, RawSource


class RawMixtureSource(Raw):
    """A corpus and its share within its group."""

    corpus: str
    share: Share
    group: Literal["text", "multimodal"]


class RawMixture(Raw):
    """Corpora and their shares."""

    sources: list[RawMixtureSource] = Field(min_length=1)


class RawMixtures(Raw):
    """specs/data/mixtures.yaml."""

    mixtures: dict[str, RawMixture]
    sources: list[RawSource] = Field(default_factory=list)


class RawPublished(Raw):
    """A corpus of a paper, and the local one that takes its place where it is not at hand."""

    kind: str
    citation: str
    stand_in: str


class RawPublishedCorpora(Raw):
    """specs/data/published.yaml."""

    corpora: dict[str, RawPublished]
    sources: list[RawSource] = Field(default_factory=list)


def _digest(value: object) -> object:
    if isinstance(value, str) and len(value) in (32, 64) and not set(value) - set("0123456789abcdef"):
        return value
    raise units.BadQuantity(
        units.describe(value), "a blake3 digest in lower-case hex", "Take it from the prepared corpus's manifest."
    )


Digest = Annotated[str, BeforeValidator(_digest)]


class RawCorpus(Raw):
    """specs/data/<corpus>.yaml; fields that are not named here are the builder's."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    corpus: str
    kind: str
    unit: Literal["tokens", "items"]
    digest: Digest
    size: Count
    documents: Count
    longest: Count


class RawTokenizer(Raw):
    """specs/data/tokenizer.yaml; fields that are not named here are the builder's."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    tokenizer: str
    vocab: Positive
    digest: Digest


class RawAnchor(Raw):
    """A published budget and what it becomes at this scale."""

    paper: Tokens
    here: Tokens


class RawTokenMap(Raw):
    """here * (budget / paper) ^ exponent, at least `floor` steps."""

    exponent: Ratio
    anchor: RawAnchor
    floor: Steps


class RawShrink(Raw):
    """How one pipeline shrinks."""

    context: Ratio
    tokens: RawTokenMap
    batch: Ratio
    micro_batch: Tokens
    lr: Ratio
    min_piece: Steps
    resolution: Ratio | None = None
    epochs: dict[str, Positive] = Field(default_factory=dict)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    execution: RawExecution = RawExecution()


class RawScaleExecution(Raw):
    """Execution defaults of a scale: all of them."""

    nodes: Positive
    ranks: Positive
    memory: Memory
    time_limit: Minutes
    checkpoint_every: Steps
    keep_partials: Positive


class RawEvaluation(Raw):
    """How much is evaluated."""

    samples: Positive


class RawScale(Raw):
    """specs/scales/<scale>.yaml after `extends`."""

    scale: str
    extends: str | None = None
    engine: str
    engine_class: str
    device: Literal["cpu", "cuda"]
    threads: Positive
    seed: Count
    corpora: Literal["published", "stand_in"]
    releases: Literal["given", "stand_in"]
    vocab: Positive | None = None
    execution: RawScaleExecution
    evaluation: RawEvaluation
    pipelines: Annotated[
        dict[str, RawShrink] | None,
        BeforeValidator(
            lambda value: None if value == "identity" else value,
            json_schema_input_type=Literal["identity"] | dict[str, RawShrink],
        ),
    ]
    sources: list[RawSource] = Field(default_factory=list)
