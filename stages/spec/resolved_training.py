"""How weights move in a resolved stage: learning-rate schedule and optimizer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stages.spec import domains
from stages.spec.frozen import Frozen
from stages.spec.names import Name

Shape = Literal["linear", "constant", "cosine", "1-sqrt", "inverse_sqrt", "power", "exponential"]


class Piece(Frozen):
    """A piece of a schedule over the clock interval (start, end]: the stretch p0..p1 of a shape from first to last.

    Cutting a shape at a stage border gives two pieces with touching p0/p1 and the same first/last, so the curve
    does not depend on where stages are cut. p0 and p1 are exact rationals (numerator, denominator).
    """

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"exponent"})
    start: int
    end: int
    shape: Shape
    first: float
    last: float
    p0: tuple[int, int]
    p1: tuple[int, int]
    exponent: Annotated[float, domains.FALL] | None = None  # of shape power


class Schedule(Frozen):
    """A named schedule of a number, as far as this stage can see it: pieces from clock 0 to the stage's end."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"name", "jumps"})
    name: str
    pieces: tuple[Piece, ...]
    jumps: tuple[tuple[int, str], ...] = ()  # (clock, reason): where a discontinuity is declared


Beta = Annotated[float, domains.DECAY_RATE] | Schedule
Eps = Annotated[float, domains.EPS]
WeightDecay = Annotated[float, domains.WEIGHT_DECAY] | Schedule
Clip = Annotated[float, domains.CLIP] | None  # a gradient norm; `none` in specs: gradients are not clipped
Coefficient = Annotated[float, domains.COEFFICIENT]


Part = Literal["embeddings", "head", "matrices", "vectors"]


class Group(Frozen):
    """Parameters that are moved and decayed by multiples of the optimizer's own figures.

    Embeddings are tables of tokens and positions (a tied head is one), the head is the untied LM head, vectors have one
    dimension (norms, biases), matrices are what is left.
    """

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"name"})
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"modules"})
    name: Name
    of: tuple[Part, ...]
    lr: Annotated[float, domains.LR_MULTIPLIER]
    weight_decay: Annotated[float, domains.DECAY_MULTIPLIER]
    modules: tuple[str, ...] | None = None  # all that are trained

    def has(self, module: str, part: Part) -> bool:
        """Whether parameters of a module belong to it."""
        return part in self.of and (self.modules is None or module in self.modules)


Groups = tuple[Group, ...] | None


Average = Annotated[float, domains.DECAY_RATE] | Schedule | None  # decay of an average of the weights that is kept too


class Skip(Frozen):
    """Steps whose gradient's norm stands out move nothing (stages/contract/spikes.py)."""

    window: Annotated[int, domains.WINDOW]  # steps
    sigmas: Annotated[float, domains.SIGMAS]


class AdamW(Frozen):
    """AdamW with decoupled decay (Loshchilov & Hutter 2019)."""

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"groups", "skip", "ema"})
    kind: Literal["adamw"]
    beta1: Beta
    beta2: Beta
    eps: Eps
    weight_decay: WeightDecay
    decay: Literal["all", "matrices"]  # which parameters are decayed
    clip: Clip  # global gradient norm
    groups: Groups = None
    skip: Skip | None = None
    ema: Average = None


class Muon(Frozen):
    """Muon as in Moonlight (arXiv 2502.16982): matrices by Newton-Schulz, the rest (and embeddings, head) by AdamW."""

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"groups", "skip", "ema"})
    kind: Literal["muon"]
    momentum: Beta
    nesterov: bool
    newton_schulz: tuple[Coefficient, Coefficient, Coefficient]
    newton_schulz_steps: Annotated[int, domains.ITERATIONS]
    update_rms: Annotated[float, domains.UPDATE_RMS]  # 0.2 in update_rms * sqrt(max(A, B))
    beta1: Beta
    beta2: Beta
    eps: Eps
    weight_decay: WeightDecay
    decay: Literal["all", "matrices"]
    clip: Clip  # norm of the raw gradients of the AdamW group
    groups: Groups = None
    skip: Skip | None = None
    ema: Average = None


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]
