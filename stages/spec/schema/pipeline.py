"""What pipeline.yaml may contain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stages.spec import fields
from stages.spec.mapping import OneOf
from stages.spec.names import Name
from stages.spec.resolved_models import Model
from stages.spec.resolved_training import Optimizer, Shape
from stages.spec.schema.waivers import RawWaiver
from stages.spec.sources import RawSource


class RawPiece(fields.Raw):
    """A piece of a learning-rate schedule."""

    shape: Shape
    from_: fields.StartRate = Field(alias="from", default=None)
    to: fields.Rate | None = None
    exponent: fields.Fall | None = None  # of shape power
    for_: fields.Length | None = Field(alias="for", default=None)
    until: fields.Clock | None = None
    jump: fields.Reason | None = None

    @property
    def starts(self) -> Literal["previous", "current", "stated"]:
        """Where the piece's first rate comes from."""
        if "from_" not in self.model_fields_set:
            return "previous"
        return "current" if self.from_ is None else "stated"


class RawClaim(fields.Raw):
    """A published total over stages, or over a stage and all its ancestors."""

    what: fields.Text
    tokens: fields.Claimed
    stages: fields.Names | None = None
    lineage: str | None = None


class RawPipeline(fields.Raw):
    """pipeline.yaml."""

    pipeline: Name
    title: fields.Text
    citation: fields.Citation
    figure: fields.Text
    tokenizer: str = ""
    extends: Name | None = None
    drop: fields.Names = Field(default_factory=list)
    claims: list[RawClaim] = Field(default_factory=list)
    parameters: dict[Name, fields.Claimed] = Field(default_factory=dict)
    models: dict[Name, Annotated[dict[str, Any], OneOf("family", Model)]] = Field(default_factory=dict)
    optimizers: dict[Name, Annotated[dict[str, Any], OneOf("kind", Optimizer)]] = Field(default_factory=dict)
    schedules: dict[Name, list[RawPiece]] = Field(default_factory=dict)
    stages: fields.NewNames = Field(min_length=1)
    waivers: list[RawWaiver] = Field(default_factory=list)  # of findings about the whole pipeline
    sources: list[RawSource] = Field(default_factory=list)
