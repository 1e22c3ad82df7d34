"""What a stage's spec file may hold, one class per kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stages.spec import units
from stages.spec.fields import (
    Claimed,
    Length,
    Memory,
    Minutes,
    Offset,
    Positive,
    Rate,
    Ratio,
    Raw,
    Sequences,
    Share,
    StartRate,
    Steps,
    Tokens,
)
from stages.spec.resolved_phases import ObjectiveName

Mark = Literal["published", "derived", "seed", "assumed", "chosen"]


class RawSource(Raw):
    """Where the figures under some paths come from."""

    covers: list[str] = Field(min_length=1)
    mark: Mark
    citation: str | None = None
    reason: str | None = None


class RawLlama3(Raw):
    """Frequency-dependent RoPE scaling."""

    factor: Ratio
    low: Ratio
    high: Ratio
    original: Tokens


class RawRope(Raw):
    """Rotary positions of the stage's language model."""

    base: Ratio
    llama3: Annotated[
        RawLlama3 | None,
        BeforeValidator(
            lambda value: None if value == "none" else value, json_schema_input_type=Literal["none"] | RawLlama3
        ),
    ]
    interpolation: Ratio


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


def _weights(value: object) -> object:
    """One module's weights as text: fresh, inherit, release:<name>, upcycle:<how>."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind == "release" and isinstance(name, str):
            return f"release:{name}"
        if kind == "upcycle" and name in ("concatenate", "interleave"):
            return f"upcycle:{name}"
    if value in ("fresh", "inherit"):
        return value
    raise units.BadQuantity(
        units.describe(value),
        "inherit, fresh, {release: name}, {upcycle: concatenate} or {upcycle: interleave}",
        "Say where the weights come from.",
    )


def _all_weights(value: object) -> object:
    if isinstance(value, dict) and not set(value) & {"release", "upcycle"}:
        return {module: _weights(weights) for module, weights in value.items()}
    return {"*": _weights(value)}


def _per_module(value: object) -> object:
    return value if isinstance(value, dict) else {"*": value}


Restored = Literal["inherit", "reset"]
Parents = Annotated[dict[str, str], BeforeValidator(_per_module, json_schema_input_type=str | dict[str, str])]
Weights = Annotated[dict[str, str], BeforeValidator(_all_weights, json_schema_input_type=str | dict[str, Any])]
Restores = Annotated[
    dict[str, Restored], BeforeValidator(_per_module, json_schema_input_type=Restored | dict[str, Restored])
]


class RawInit(Raw):
    """The edge, component by component; "*" stands for all modules."""

    from_: Parents = Field(alias="from", default_factory=dict)
    weights: Weights
    optimizer: Restores
    clock: Literal["continue", "reset"]
    data: Literal["continue", "restart"]


class RawPointer(Raw):
    """The edge of a keep or export stage: everything is the parent's."""

    from_: str = Field(alias="from")


class RawExecution(Raw):
    """How a stage is run at full size; what is absent is the scale's."""

    nodes: Positive | None = None
    ranks: Positive | None = None
    memory: Memory | None = None
    time_limit: Minutes | None = None
    checkpoint_every: Steps | None = None
    keep_partials: Positive | None = None


class RawWaiver(Raw):
    """An invariant that does not hold here, and why it need not."""

    id: str
    reason: str


class RawStage(Raw):
    """What every kind of stage has."""

    stage: str
    box: str
    evaluate: list[str] = Field(default_factory=list)
    execution: RawExecution = RawExecution()
    waivers: list[RawWaiver] = Field(default_factory=list)
    sources: list[RawSource] = Field(default_factory=list)


class RawTrain(RawStage):
    """A stage that trains."""

    kind: Literal["train"]
    modules: dict[str, str] = Field(min_length=1)
    train: list[str] = Field(min_length=1)
    frozen: list[str]
    init: RawInit
    schedule: str
    optimizer: str
    rope: RawRope | None = None
    phases: list[RawPhase] = Field(min_length=1)


class RawStandIn(Raw):
    """What is trained from scratch where a release is not at hand."""

    schedule: str
    optimizer: str
    phases: list[RawPhase] = Field(min_length=1)


class RawImport(RawStage):
    """A released model comes in."""

    kind: Literal["import"]
    modules: dict[str, str] = Field(min_length=1)
    release: str
    max_context: Tokens
    rope: RawRope | None = None
    stand_in: RawStandIn | None = None


class RawUpcycle(RawStage):
    """A smaller model becomes a larger one without training."""

    kind: Literal["upcycle"]
    modules: dict[str, str] = Field(min_length=1)
    init: RawInit


class RawKeep(RawStage):
    """A pointer to the parent."""

    kind: Literal["keep"]
    init: RawPointer


class RawExport(RawStage):
    """A release of the parent in Hugging Face's format."""

    kind: Literal["export"]
    init: RawPointer


STAGES: dict[str, type[RawStage]] = {
    "train": RawTrain,
    "import": RawImport,
    "upcycle": RawUpcycle,
    "keep": RawKeep,
    "export": RawExport,
}


class RawPiece(Raw):
    """A piece of a learning-rate schedule."""

    shape: Literal["linear", "constant", "cosine"]
    from_: StartRate = Field(alias="from", default=None)
    to: Rate | None = None
    for_: Length | None = Field(alias="for", default=None)
    until: Tokens | None = None
    jump: str | None = None

    @property
    def starts(self) -> Literal["previous", "current", "stated"]:
        """Where the piece's first rate comes from."""
        if "from_" not in self.model_fields_set:
            return "previous"
        return "current" if self.from_ is None else "stated"


class RawClaim(Raw):
    """A published total over stages, or over a stage and all its ancestors."""

    what: str
    tokens: Claimed
    stages: list[str] | None = None
    lineage: str | None = None


class RawPipeline(Raw):
    """pipeline.yaml."""

    pipeline: str
    title: str
    citation: str
    figure: str
    tokenizer: str = ""
    extends: str | None = None
    drop: list[str] = Field(default_factory=list)
    claims: list[RawClaim] = Field(default_factory=list)
    models: dict[str, dict[str, Any]] = Field(default_factory=dict)
    optimizers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    schedules: dict[str, list[RawPiece]] = Field(default_factory=dict)
    stages: list[str] = Field(min_length=1)
    sources: list[RawSource] = Field(default_factory=list)
