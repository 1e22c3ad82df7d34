"""What mixtures.yaml and published.yaml of specs/data, and specs/scales, may contain."""

from __future__ import annotations

from typing import Annotated, Any, Literal, assert_never

from pydantic import BeforeValidator, Field, model_validator

from stages.spec import fields, quantities, units
from stages.spec.mapping import some_of
from stages.spec.names import Name
from stages.spec.resolved import Activations, Determinism
from stages.spec.resolved_models import Model
from stages.spec.resolved_parallel import Engine, EngineClass, Recompute, TorchClass
from stages.spec.schema.corpora import Kind
from stages.spec.schema.stages import RawExecution
from stages.spec.sources import RawSource

IDENTITY = "identity, or how the pipeline shrinks"


class RawMixtureSource(fields.Raw):
    """A corpus and its share within its group."""

    corpus: str
    share: fields.Part
    group: Literal["text", "multimodal"]


class RawMixture(fields.Raw):
    """Corpora and their shares."""

    sources: list[RawMixtureSource] = Field(min_length=1)


class RawMixtures(fields.Raw):
    """specs/data/mixtures.yaml."""

    mixtures: dict[Name, RawMixture]
    sources: list[RawSource] = Field(default_factory=list)


class RawPublished(fields.Raw):
    """A corpus of a paper, and the local one that takes its place where it is not at hand, if there is one."""

    kind: Kind
    citation: fields.Citation
    stand_in: str | None = None


class RawPublishedCorpora(fields.Raw):
    """specs/data/published.yaml."""

    corpora: dict[Name, RawPublished]
    sources: list[RawSource] = Field(default_factory=list)


class RawBindings(fields.Raw):
    """specs/data/bind.yaml: which local corpus is read in the place of a published one, at every scale."""

    bind: dict[str, str]


class RawAnchor(fields.Raw):
    """A published budget and what it becomes at this scale, which is never more."""

    paper: fields.Budget
    here: fields.Budget

    @model_validator(mode="after")
    def _shrinks(self) -> RawAnchor:
        if self.here > self.paper:
            here, paper = units.format_tokens(self.here), units.format_tokens(self.paper)
            found = f"{here}, which is more than the published {paper}"
            raise quantities.BadQuantity(found, "at most the published budget", "Exchange the two.", ("here",))
        return self


class RawTokenMap(fields.Raw):
    """here * (budget / paper) ^ exponent, at least `floor` steps; of conversations whole rows, where declared."""

    exponent: fields.BudgetExponent
    anchor: RawAnchor
    floor: fields.Steps
    whole_rows: bool = False


class RawShrink(fields.Raw):
    """How one pipeline shrinks."""

    context: fields.Shrink
    tokens: RawTokenMap
    batch: fields.Shrink
    micro_batch: fields.Budget
    lr: fields.LrFactor
    min_piece: fields.Steps
    resolution: fields.Shrink | None = None
    epochs: dict[str, fields.Epochs] = Field(default_factory=dict)
    models: dict[str, Annotated[dict[str, Any], some_of("family", Model)]] = Field(default_factory=dict)
    execution: RawExecution = RawExecution()
    executions: dict[str, RawExecution] = Field(default_factory=dict)  # by stage; what is absent is the pipeline's
    torch: fields.Names = Field(default_factory=list)  # stages that the torch engine trains at a scale of another


class RawScaleParallel(fields.Raw):
    """How the NeMo engine divides stages that say nothing of it: all of it."""

    tp: fields.Divided
    pp: fields.Divided
    cp: fields.Divided
    ep: fields.Divided
    vpp: fields.Divided
    sequence_parallel: fields.Flag
    distributed_optimizer: fields.Flag
    recompute: Recompute


class RawScaleExecution(fields.Raw):
    """Execution defaults of a scale: all of them."""

    nodes: fields.Nodes
    ranks: fields.Ranks
    memory: fields.Memory
    time_limit: fields.TimeLimit
    checkpoint_every: fields.Steps
    keep_partials: fields.Kept
    activations: Activations
    determinism: Determinism
    parallel: RawScaleParallel | None = None  # there where the engine is nemo


class RawEvaluation(fields.Raw):
    """How much is evaluated: `context` is the longest row, where one GPU has no memory for a stage's own."""

    samples: fields.Samples
    context: fields.EvaluatedContext | None = None


def _identity(value: object) -> object:
    if value is None:
        raise quantities.BadQuantity(
            "nothing", IDENTITY, "Say how it shrinks, or leave it out: it is not at this scale then."
        )
    return None if value == "identity" else value


AtScale = Annotated[
    RawShrink | None, BeforeValidator(_identity, json_schema_input_type=Literal["identity"] | RawShrink)
]  # None: a pipeline at its full size


class RawScale(fields.Raw):
    """specs/scales/<scale>.yaml after `extends`.

    `pipelines` None: every pipeline is at this scale, at its full size. Else those that it has an entry for, and those
    that extend them.
    """

    scale: Name
    extends: Name | None = None
    engine: Engine
    engine_class: EngineClass
    torch_class: TorchClass | None = None  # of what the torch engine runs where the engine is nemo
    device: Literal["cpu", "cuda"]
    threads: fields.Threads
    seed: fields.Seed
    corpora: Literal["published", "stand_in"]
    releases: Literal["given", "stand_in"]
    vocab: fields.Vocabulary | None = None
    execution: RawScaleExecution
    evaluation: RawEvaluation
    pipelines: Annotated[
        dict[str, AtScale] | None,
        BeforeValidator(_identity, json_schema_input_type=Literal["identity"] | dict[str, AtScale]),
    ]

    @property
    def has_corpora(self) -> bool:
        """Whether the published corpora are read, and not local ones in their place."""
        match self.corpora:
            case "published":
                return True
            case "stand_in":
                return False
            case _:
                assert_never(self.corpora)

    @property
    def has_releases(self) -> bool:
        """Whether released weights come in, and no stand-in is trained in their place."""
        match self.releases:
            case "given":
                return True
            case "stand_in":
                return False
            case _:
                assert_never(self.releases)

    sources: list[RawSource] = Field(default_factory=list)
