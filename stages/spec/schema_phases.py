"""What a phase of a stage's spec may hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.spec.fields import (
    Offset,
    Positive,
    Rate,
    Raw,
    Sequences,
    Share,
    Tokens,
)
from stages.spec.resolved_phases import ObjectiveName


class RawBatchStep(Raw):
    """From `after` ledger units of the phase on, `batch` sequences a step."""

    after: Offset
    batch: Sequences


def _ramp(value: object) -> object:
    return [{"after": "0", "batch": value}] if isinstance(value, str) else value


class RawShareRamp(Raw):
    """Multimodal share of samples, linear over the first `over` of the phase."""

    from_: Share = Field(alias="from")
    to: Share
    over: Share


class RawLoops(Raw):
    """Loops of a looped model and the weight of the entropy term."""

    count: Positive
    beta: Rate


class RawRouter(Raw):
    """MoE balancing."""

    bias_update: Rate
    aux_loss: Rate


class RawResolution(Raw):
    """Resolution cap (pixels, longer side) from a share of the phase on."""

    after: Share
    cap: Positive


class RawCoca(Raw):
    """CoCa's caption weight and resolution schedule."""

    caption_weight: Rate
    resolutions: list[RawResolution] = Field(min_length=1)


class RawPhase(Raw):
    """A stretch of a stage with one objective, length and mixture."""

    name: str
    objective: ObjectiveName
    unit: Literal["tokens", "patches"]
    budget: Tokens
    context: Tokens
    batch: Annotated[
        list[RawBatchStep], BeforeValidator(_ramp, json_schema_input_type=str | list[RawBatchStep]), Field(min_length=1)
    ]
    micro_batch: Sequences
    epochs: Positive
    document_mask: bool
    packing: Literal["concatenate", "whole"]
    data: str
    multimodal: RawShareRamp | None = None
    loops: RawLoops | None = None
    router: RawRouter | None = None
    coca: RawCoca | None = None
