"""What a stage is once its spec, its parents and its scale are put together: plain, frozen, complete.

This is the one interface between the specs and everything that runs. An engine is given a `Stage`; the keys are
hashes of its identity fields; plans, checks and snapshots read it. It contains no paths and no defaults: every field
that changes numerics is spelled out. Token counts are integers; shares are integer weights.

The values that it is made of are in `resolved_models`, `resolved_training`, `resolved_phases` and `resolved_parallel`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, assert_never

from pydantic import Field, ValidationInfo, model_validator

from stages.spec.frozen import Frozen
from stages.spec.resolved_models import LANGUAGE_MODELS, Model, MoonViTModel, Rope
from stages.spec.resolved_parallel import Engine, EngineClass, Parallel
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Optimizer, Schedule

Activations = Literal["kept", "recomputed"]
Determinism = Literal["exact", "fast"]
# What runs did before execution declared it.
EARLIER: dict[str, str | None] = {"activations": "kept", "determinism": "exact", "parallel": None}


class Init(Frozen):
    """Where one module's weights come from, and what becomes of its optimizer state."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"stand_in", "architecture"})
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"digest", "extend", "rows", "average", "experts"})
    weights: Literal["fresh", "inherit", "upcycle", "release", "merge"]
    parent: str | None  # "pipeline/stage", for inherit and upcycle
    release: str | None  # name of a released model that the user supplies as a folder
    optimizer: Literal["inherit", "reset"]
    layer_map: tuple[int, ...] | None  # upcycle: child layer i is a copy of parent layer layer_map[i]
    stand_in: bool  # a release replaced by a fresh start, at scales that do not have it
    digest: str | None = None  # of the release's folder, as specs/releases declares it
    extend: Literal["mean", "fresh"] | None = None  # inherit, and how rows of new tokens begin
    rows: int | None = None  # extend: tokens of the parent; rows from there on are new, the parent's padding included
    average: Literal[True] | None = None  # inherit: the average that the parent's optimizer kept, not its last weights
    experts: Literal["copies"] | None = None  # upcycle: each is the feed-forward part of its layer; routers are fresh
    architecture: str | None = None  # of the release, as its config.json has to say

    @property
    def taken(self) -> str:
        """What is taken of whom, as specs call it: the average apart from the last weights."""
        return "average" if self.average else self.weights


class Share(Frozen):
    """How much of a merge one parent is: an exact part of 1 (numerator, denominator)."""

    parent: str  # "pipeline/stage"
    part: tuple[int, int]


class LmEval(Frozen):
    """Tasks of lm-evaluation-harness, run on an export of the stage's result."""

    tasks: tuple[str, ...]
    limit: int | None  # documents of each task at most
    folder: str | None  # of the project, with tasks of one's own


class Evaluation(Frozen):
    """Which evaluations run before and after the stage (see stages/evals)."""

    names: tuple[str, ...]
    context: int  # length of the held-out windows
    old_context: int | None  # the parent's context, where this stage extends it
    samples: int
    on: Phase | None = None  # of an import: its corpora, as a phase that reads nothing of them for training
    # The same of what hands on an import without training; of the specs as they are now, so in no record of a stage.
    on_above: Phase | None = Field(default=None, exclude=True)
    lm_eval: LmEval | None = None


class Execution(Frozen):
    """How a stage is run; never part of its identity."""

    engine: Engine
    device: Literal["cpu", "cuda"]
    threads: int
    ranks: int
    nodes: int
    memory_mb: int
    time_limit_min: int
    checkpoint_every: int  # steps
    keep_partials: int
    activations: Activations  # between forward and backward pass: all of them, or each layer's input
    determinism: Determinism  # deterministic kernels only, or the fastest, with sums in any order
    parallel: Parallel | None  # how the NeMo engine divides the model; None: the torch engine, whole on every rank

    @property
    def dp(self) -> int:
        """Replicas of the model, each of which has its share of a step's sequences."""
        return self.ranks // (self.parallel.ranks_of_a_model if self.parallel is not None else 1)

    @property
    def exact(self) -> bool:
        """Whether only deterministic kernels are used."""
        match self.determinism:
            case "exact":
                return True
            case "fast":
                return False
            case _:
                assert_never(self.determinism)

    @property
    def recomputes(self) -> bool:
        """Whether the backward pass computes what is inside a layer again."""
        match self.activations:
            case "kept":
                return False
            case "recomputed":
                return True
            case _:
                assert_never(self.activations)

    @model_validator(mode="before")
    @classmethod
    def _of_older_results(cls, value: Any, info: ValidationInfo) -> Any:
        """A stage.json of before leaves out what every run did then; nothing else may."""
        if info.mode == "json" and isinstance(value, dict):
            return {**EARLIER, **value}
        return value


class Waiver(Frozen):
    """What need not hold in a stage: the invariant, each place where it does not, how much was found there, and why.

    `at` and `found` are compared with those of findings (stages/check/facts.py).
    """

    id: str
    at: tuple[str, ...]
    found: str
    reason: str

    @model_validator(mode="before")
    @classmethod
    def _of_older_results(cls, value: Any) -> Any:
        """Results made before waivers named what they excuse have a pair of id and reason.

        Behind this, what JSON says is Python's, and a list is no tuple.
        """
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return {"id": value[0], "at": (), "found": "", "reason": value[1]}
        if isinstance(value, dict) and isinstance(value.get("at"), list):
            return {**value, "at": tuple(value["at"])}
        return value


class Stage(Frozen):
    """One box of a figure at one scale."""

    EXECUTION_FIELDS: ClassVar[frozenset[str]] = frozenset({"execution", "evaluation"})
    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset(
        {"pipeline", "name", "box", "scale", "max_context", "waivers", "trunk"}
    )
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"merge"})
    pipeline: str
    name: str
    box: str  # the figure's words
    scale: str
    kind: Literal["import", "train", "upcycle", "merge", "keep", "export"]
    engine_class: EngineClass  # what the numbers depend on
    seed: int
    parents: tuple[str, ...]  # "pipeline/stage", sorted; a variant's parent may live in the pipeline it extends
    modules: dict[str, Model]  # in order of construction
    init: dict[str, Init]  # per module
    trained: tuple[str, ...]  # modules that move
    clock: Literal["continue", "reset"]
    data: Literal["continue", "restart"]
    tokenizer: str  # declared digest
    rope: Rope | None
    optimizer: Optimizer | None
    schedule: Schedule | None
    phases: tuple[Phase, ...]
    evaluation: Evaluation
    execution: Execution
    max_context: int  # the longest context in the lineage under the current RoPE: what an export declares
    waivers: tuple[Waiver, ...] = ()
    merge: tuple[Share, ...] | None = None  # of a merge: its parents, by name
    trunk: str | None = None  # of a point: the stage that this one is the beginning of, and that keeps its checkpoint

    @property
    def ref(self) -> str:
        """The name by which other stages call it."""
        return f"{self.pipeline}/{self.name}"

    @property
    def needed(self) -> tuple[str, ...]:
        """What is run before: the parents, and of a point its trunk."""
        return self.parents if self.trunk is None else (*self.parents, self.trunk)

    @property
    def read_frozen(self) -> tuple[str, ...]:
        """Modules of which a phase reads a frozen copy, as the stage received them, besides those that are trained: the
        reference of preference training.
        """
        if all(phase.preference is None for phase in self.phases):
            return ()
        return tuple(name for name, model in self.modules.items() if model.family in LANGUAGE_MODELS)

    @property
    def tower(self) -> MoonViTModel | None:
        """Its vision tower."""
        return next((model for model in self.modules.values() if isinstance(model, MoonViTModel)), None)

    @property
    def stand_in(self) -> bool:
        """Whether one of its modules is a fresh start in a release's place."""
        return any(init.stand_in for init in self.init.values())

    @property
    def budget(self) -> int:
        """Ledger units over all phases."""
        return sum(phase.budget for phase in self.phases)

    @property
    def longest(self) -> int:
        """Positions of its longest rows; 0 without phases."""
        return max((phase.context for phase in self.phases), default=0)

    @property
    def prepared(self) -> bool:
        """Whether all that it is trained or evaluated on are local corpora: published ones have no digest."""
        return all(source.digest for phase in self.evaluated_on for source in phase.sources)

    @property
    def evaluated_on(self) -> tuple[Phase, ...]:
        """The phases whose corpora it is evaluated on; none: it is evaluated on its parent's."""
        return self.phases or (() if self.evaluation.on is None else (self.evaluation.on,))
