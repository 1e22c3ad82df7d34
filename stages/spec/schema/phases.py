"""What a phase of a stage's spec may contain."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from stages.spec import fields, quantities, units
from stages.spec.names import PhaseName
from stages.spec.resolved_phases import AnswerLength, ObjectiveName, PreferenceLoss, TurnEnds


class RawBatchStep(fields.Raw):
    """From `after` ledger units of the phase on, `batch` sequences a step."""

    after: fields.Offset
    batch: fields.Batch


def _ramp(value: object) -> object:
    return [{"after": "0", "batch": value}] if isinstance(value, str) else value


class RawShareRamp(fields.Raw):
    """Multimodal share of samples, linear over the first `over` of the phase."""

    from_: fields.Share = Field(alias="from")
    to: fields.Share
    over: fields.Share


class RawLoops(fields.Raw):
    """Loops of a looped model and the weight of the entropy term."""

    count: fields.Loops
    beta: fields.EntropyWeight


class RawRouter(fields.Raw):
    """MoE balancing."""

    bias_update: fields.RouterRate
    aux_loss: fields.RouterRate


class RawResolution(fields.Raw):
    """Resolution cap (pixels, longer side) from a share of the phase on."""

    after: fields.After
    cap: fields.Pixels


class RawCoca(fields.Raw):
    """CoCa's caption weight and resolution schedule."""

    caption_weight: fields.CaptionWeight
    resolutions: list[RawResolution] = Field(min_length=1)


class RawPreference(fields.Raw):
    """What is made of the log-probabilities of a pair's two answers."""

    loss: PreferenceLoss
    beta: fields.PreferenceBeta
    answers: AnswerLength
    turn_ends: TurnEnds
    nll: fields.NllWeight  # 0: none


def _epochs_may_be_absent(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name != "epochs"]


class RawPhase(fields.Raw):
    """A stretch of a stage with one objective, length and mixture.

    A budget in epochs says `epochs` too: it may be left out then, and must be the same where it is not.
    """

    model_config = ConfigDict(json_schema_extra=_epochs_may_be_absent)
    name: PhaseName
    objective: ObjectiveName
    unit: Literal["tokens", "patches"]
    budget: fields.PhaseBudget
    context: fields.Context
    batch: Annotated[
        list[RawBatchStep], BeforeValidator(_ramp, json_schema_input_type=str | list[RawBatchStep]), Field(min_length=1)
    ]
    micro_batch: fields.Batch
    epochs: fields.Epochs
    document_mask: fields.Flag
    packing: Literal["concatenate", "whole"]
    data: str
    multimodal: RawShareRamp | None = None
    loops: RawLoops | None = None
    router: RawRouter | None = None
    coca: RawCoca | None = None
    preference: RawPreference | None = None
    z_loss: fields.ZLoss | None = None  # absent: none

    @model_validator(mode="before")
    @classmethod
    def _epochs_of_budget(cls, value: object) -> object:
        if not isinstance(value, dict) or "epochs" in value:
            return value
        budget = value.get("budget")
        if not isinstance(budget, str) or not budget.rstrip().endswith(units.EPOCHS):
            return value
        with suppress(quantities.BadQuantity):
            budget = units.budget(value["budget"])
            return {**value, "epochs": str(budget.number if isinstance(budget, units.Epochs) else budget)}
        return {**value, "epochs": "1"}  # the budget's own mistake is complained about, and no other

    @property
    def size(self) -> int:
        """The budget at full size, in the ledger's unit; one in epochs has to be counted first."""
        if isinstance(self.budget, units.Epochs):
            raise TypeError(f"phase {self.name}: a budget in epochs that nobody has counted")
        return self.budget


class CountedPhase(RawPhase):
    """A phase whose budget is written in epochs, and what that comes to: at full size, and at the scale."""

    full: int
    here: int

    @property
    def size(self) -> int:
        """The budget at full size, in tokens."""
        return self.full
