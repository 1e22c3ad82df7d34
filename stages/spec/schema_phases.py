"""What a phase of a stage's spec may hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from stages.spec.fields import (
    After,
    Batch,
    Budget,
    CaptionWeight,
    Context,
    EntropyWeight,
    Epochs,
    Flag,
    Loops,
    Offset,
    Pixels,
    Raw,
    RouterRate,
    Share,
)
from stages.spec.names import PhaseName
from stages.spec.resolved_phases import ObjectiveName


class RawBatchStep(Raw):
    """From `after` ledger units of the phase on, `batch` sequences a step."""

    after: Offset
    batch: Batch


def _ramp(value: object) -> object:
    return [{"after": "0", "batch": value}] if isinstance(value, str) else value


class RawShareRamp(Raw):
    """Multimodal share of samples, linear over the first `over` of the phase."""

    from_: Share = Field(alias="from")
    to: Share
    over: Share


class RawLoops(Raw):
    """Loops of a looped model and the weight of the entropy term."""

    count: Loops
    beta: EntropyWeight


class RawRouter(Raw):
    """MoE balancing."""

    bias_update: RouterRate
    aux_loss: RouterRate


class RawResolution(Raw):
    """Resolution cap (pixels, longer side) from a share of the phase on."""

    after: After
    cap: Pixels


class RawCoca(Raw):
    """CoCa's caption weight and resolution schedule."""

    caption_weight: CaptionWeight
    resolutions: list[RawResolution] = Field(min_length=1)


class RawPhase(Raw):
    """A stretch of a stage with one objective, length and mixture."""

    name: PhaseName
    objective: ObjectiveName
    unit: Literal["tokens", "patches"]
    budget: Budget
    context: Context
    batch: Annotated[
        list[RawBatchStep], BeforeValidator(_ramp, json_schema_input_type=str | list[RawBatchStep]), Field(min_length=1)
    ]
    micro_batch: Batch
    epochs: Epochs
    document_mask: Flag
    packing: Literal["concatenate", "whole"]
    data: str
    multimodal: RawShareRamp | None = None
    loops: RawLoops | None = None
    router: RawRouter | None = None
    coca: RawCoca | None = None
