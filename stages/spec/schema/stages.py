"""What a stage's spec file may contain, one class per kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from stages.spec import fields, quantities
from stages.spec.names import Name
from stages.spec.resolved import Activations, Determinism
from stages.spec.resolved_parallel import Recompute
from stages.spec.schema.edges import RawExported, RawInit, RawMergeInit, RawPointer
from stages.spec.schema.phases import RawPhase
from stages.spec.schema.tasks import TaskFolder, Tasks
from stages.spec.schema.waivers import RawWaiver
from stages.spec.sources import RawSource


class RawLlama3(fields.Raw):
    """Frequency-dependent RoPE scaling."""

    factor: fields.RopeFactor
    low: fields.RopeFactor
    high: fields.RopeFactor
    original: fields.Context


class RawYarn(fields.Raw):
    """YaRN: frequencies and the size of what attention compares."""

    factor: fields.RopeFactor
    original: fields.Context
    beta_fast: fields.RopeFactor
    beta_slow: fields.RopeFactor
    truncate: fields.Flag
    attention_factor: fields.Magnitude
    mscale: fields.Magnitude
    mscale_all_dim: fields.Magnitude


class RawRope(fields.Raw):
    """Rotary positions of the stage's language model."""

    base: fields.RopeBase
    llama3: Annotated[
        RawLlama3 | None,
        BeforeValidator(
            lambda value: None if value == "none" else value, json_schema_input_type=Literal["none"] | RawLlama3
        ),
    ]
    interpolation: fields.RopeFactor
    yarn: RawYarn | None = None


class RawParallel(fields.Raw):
    """How the NeMo engine divides a stage over its ranks; what is absent is the scale's."""

    tp: fields.Divided | None = None
    pp: fields.Divided | None = None
    cp: fields.Divided | None = None
    ep: fields.Divided | None = None
    vpp: fields.Divided | None = None
    sequence_parallel: fields.Flag | None = None
    distributed_optimizer: fields.Flag | None = None
    recompute: Recompute | None = None


class RawExecution(fields.Raw):
    """How a stage is run at full size; what is absent is the scale's."""

    nodes: fields.Nodes | None = None
    ranks: fields.Ranks | None = None
    memory: fields.Memory | None = None
    time_limit: fields.TimeLimit | None = None
    checkpoint_every: fields.Steps | None = None
    keep_partials: fields.Kept | None = None
    activations: Activations | None = None
    determinism: Determinism | None = None
    parallel: RawParallel = RawParallel()  # read where the NeMo engine trains the stage


class RawEvaluate(fields.Raw):
    """What a stage is evaluated by: this project on held-out documents, lm-evaluation-harness on an export."""

    heldout: fields.Names = Field(default_factory=list)
    lm_eval: Tasks = Field(default_factory=list)
    limit: fields.Samples | None = None  # documents of each of the harness's tasks at most
    lm_eval_tasks: TaskFolder | None = None


def _evaluate(value: object) -> object:
    """A list names evaluations on held-out documents alone."""
    whole = "{heldout: [names], lm_eval: [tasks of lm-evaluation-harness]}"
    if isinstance(value, list):
        for index, one in enumerate(value):
            if isinstance(one, dict):
                repair = f"Write {whole} in the place of the list."
                raise quantities.BadQuantity("a mapping in a list", "names", repair, (index,))
        return {"heldout": value}
    if isinstance(value, (dict, RawEvaluate)):
        return value
    raise quantities.BadQuantity(quantities.describe(value), f"a list of names, or {whole}", "Write [a, b].")


Evaluate = Annotated[RawEvaluate, BeforeValidator(_evaluate, json_schema_input_type=fields.Names | RawEvaluate)]


class RawStage(fields.Raw):
    """What every kind of stage has."""

    stage: Name
    box: fields.Text
    evaluate: Evaluate = Field(default_factory=RawEvaluate)
    execution: RawExecution = RawExecution()
    waivers: list[RawWaiver] = Field(default_factory=list)
    sources: list[RawSource] = Field(default_factory=list)

    @property
    def training(self) -> RawTrain | RawStandIn | None:
        """What says how it trains: a training stage itself, an import's stand-in; None for others."""
        return self if isinstance(self, RawTrain) else self.stand_in if isinstance(self, RawImport) else None

    @property
    def mixtures(self) -> list[str]:
        """The mixtures that it, or its stand-in, is trained on, or evaluated on."""
        evaluated = self.evaluate_on if isinstance(self, RawImport) else None
        trained = [phase.data for phase in self.training.phases] if self.training is not None else []
        return trained if evaluated is None else [*trained, evaluated.data]


def _scalar(value: object) -> object:
    """One value, as its text or as a truth value: the field that it is of says what it has to be."""
    if isinstance(value, (str, bool)):
        return value
    raise quantities.BadQuantity(
        quantities.describe(value), "one value, as the field has it", "Write a number or a word."
    )


Scalar = Annotated[str | bool, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]


class RawVariants(fields.Raw):
    """One stage for each value of a field."""

    field: fields.Text
    values: dict[Name, Scalar] = Field(min_length=2)


class RawTrain(RawStage):
    """A stage that trains."""

    kind: Literal["train"]
    modules: dict[Name, str] = Field(min_length=1)
    train: fields.Names = Field(min_length=1)
    frozen: fields.Names
    init: RawInit
    schedule: str
    optimizer: str
    seed: fields.Seed | None = None  # absent: the scale's
    tokenizer: Name | None = None  # of specs/tokenizers, from this stage on: one that extends the parent's
    rope: RawRope | None = None
    phases: list[RawPhase] = Field(min_length=1)
    variants: RawVariants | None = None


class RawStandIn(fields.Raw):
    """What is trained from scratch where a release is not at hand."""

    schedule: str
    optimizer: str
    seed: fields.Seed | None = None  # absent: the scale's
    phases: list[RawPhase] = Field(min_length=1)


class RawEvaluatedOn(fields.Raw):
    """What an import is evaluated on: it reads no data of its own."""

    data: str
    context: fields.Context
    document_mask: fields.Flag
    loops: fields.Loops | None = None  # where the model is looped


class RawImport(RawStage):
    """A released model comes in."""

    kind: Literal["import"]
    modules: dict[Name, str] = Field(min_length=1)
    release: Name
    max_context: fields.Context
    rope: RawRope | None = None
    evaluate_on: RawEvaluatedOn | None = None
    stand_in: RawStandIn | None = None


class RawUpcycle(RawStage):
    """A smaller model becomes a larger one without training."""

    kind: Literal["upcycle"]
    modules: dict[Name, str] = Field(min_length=1)
    init: RawInit


class RawMerge(RawStage):
    """The average of several stages' weights."""

    kind: Literal["merge"]
    init: RawMergeInit


class RawKeep(RawStage):
    """A pointer to the parent."""

    kind: Literal["keep"]
    init: RawPointer


class RawExport(RawStage):
    """A release of the parent in Hugging Face's format."""

    kind: Literal["export"]
    init: RawExported


STAGES: dict[str, type[RawStage]] = {
    "train": RawTrain,
    "import": RawImport,
    "upcycle": RawUpcycle,
    "merge": RawMerge,
    "keep": RawKeep,
    "export": RawExport,
}
