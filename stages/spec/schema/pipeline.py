"""What pipeline.yaml may contain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.spec.fields import (
    Citation,
    Claimed,
    Clock,
    Fall,
    Length,
    Names,
    NewNames,
    Rate,
    Raw,
    Reason,
    StartRate,
    Text,
)
from stages.spec.mapping import OneOf
from stages.spec.names import Name
from stages.spec.resolved_models import Model
from stages.spec.resolved_training import Optimizer, Shape
from stages.spec.schema.waivers import RawWaiver
from stages.spec.sources import RawSource


class RawPiece(Raw):
    """A piece of a learning-rate schedule."""

    shape: Shape
    from_: StartRate = Field(alias="from", default=None)
    to: Rate | None = None
    exponent: Fall | None = None  # of shape power
    for_: Length | None = Field(alias="for", default=None)
    until: Clock | None = None
    jump: Reason | None = None

    @property
    def starts(self) -> Literal["previous", "current", "stated"]:
        """Where the piece's first rate comes from."""
        if "from_" not in self.model_fields_set:
            return "previous"
        return "current" if self.from_ is None else "stated"


class RawClaim(Raw):
    """A published total over stages, or over a stage and all its ancestors."""

    what: Text
    tokens: Claimed
    stages: Names | None = None
    lineage: str | None = None


class RawPipeline(Raw):
    """pipeline.yaml."""

    pipeline: Name
    title: Text
    citation: Citation
    figure: Text
    tokenizer: str = ""
    extends: Name | None = None
    drop: Names = Field(default_factory=list)
    claims: list[RawClaim] = Field(default_factory=list)
    parameters: dict[Name, Claimed] = Field(default_factory=dict)
    models: dict[Name, Annotated[dict[str, Any], OneOf("family", Model)]] = Field(default_factory=dict)
    optimizers: dict[Name, Annotated[dict[str, Any], OneOf("kind", Optimizer)]] = Field(default_factory=dict)
    schedules: dict[Name, list[RawPiece]] = Field(default_factory=dict)
    stages: NewNames = Field(min_length=1)
    waivers: list[RawWaiver] = Field(default_factory=list)  # of findings about the whole pipeline
    sources: list[RawSource] = Field(default_factory=list)
