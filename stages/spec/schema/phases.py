"""What a phase of a stage's spec may contain."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from stages.spec import quantities, units
from stages.spec.fields import (
    After,
    Batch,
    CaptionWeight,
    Context,
    EntropyWeight,
    Epochs,
    Flag,
    Loops,
    NllWeight,
    Offset,
    PhaseBudget,
    Pixels,
    PreferenceBeta,
    Raw,
    RouterRate,
    Share,
    ZLoss,
)
from stages.spec.names import PhaseName
from stages.spec.resolved_phases import AnswerLength, ObjectiveName, PreferenceLoss, TurnEnds


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


class RawPreference(Raw):
    """What is made of the log-probabilities of a pair's two answers."""

    loss: PreferenceLoss
    beta: PreferenceBeta
    answers: AnswerLength
    turn_ends: TurnEnds
    nll: NllWeight  # 0: none


def _epochs_may_be_absent(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name != "epochs"]


def _in_epochs(budget: object) -> bool:
    return isinstance(budget, str) and budget.rstrip().endswith(units.EPOCHS)


class RawPhase(Raw):
    """A stretch of a stage with one objective, length and mixture.

    A budget in epochs says `epochs` too: it may be left out then, and must be the same where it is not.
    """

    model_config = ConfigDict(json_schema_extra=_epochs_may_be_absent)
    name: PhaseName
    objective: ObjectiveName
    unit: Literal["tokens", "patches"]
    budget: PhaseBudget
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
    preference: RawPreference | None = None
    z_loss: ZLoss | None = None  # absent: none

    @model_validator(mode="before")
    @classmethod
    def _epochs_of_budget(cls, value: object) -> object:
        if not isinstance(value, dict) or "epochs" in value or not _in_epochs(value.get("budget")):
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
