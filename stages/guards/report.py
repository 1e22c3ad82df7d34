"""What an engine must report so that the guards can compare a stage with its spec: plain values, no tensors.

Digests are blake3 over a tensor's bytes, under the names that its file has (Hugging Face names for weights).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Digests = Mapping[str, str]  # tensor name -> blake3


@dataclass(frozen=True)
class ModuleReport:
    """One module as it is before its first step.

    `frequencies`: rotary frequencies in radians per position, fp32, read from the module; None where it has none.
    `factors`: what the module multiplies rotated queries and keys by, each of them, and its scores in whole.
    `parent_weights` and `parent_moments` are those of the parent's files under the parent's names; None where nothing
    is inherited. `moments` are the optimizer's, `moments_moved` says whether any of them differs from zero.
    `read_frozen` is the copy that is read besides the module and never moved; None where there is none. It has the bits
    of `received`, or of `computed`: the weights in the types that layers compute with, where copies have those.
    Of an extended vocabulary `weights` are the rows that were handed over, and `whole` has all of them.
    """

    weights: Digests
    parent_weights: Digests | None
    frequencies: tuple[float, ...] | None
    factors: tuple[float, float]
    moments: Digests
    parent_moments: Digests | None
    moments_moved: bool
    takes_gradient: int  # parameters that do
    parameters: int
    read_frozen: Digests | None = None
    computed: Digests | None = None
    whole: Digests | None = None

    @property
    def received(self) -> Digests:
        """The weights with all their rows."""
        return self.weights if self.whole is None else self.whole


@dataclass(frozen=True)
class BuiltReport:
    """Before step 1. `rates`: parameter group -> LR at the first step, which ends at `clock`; `again`: called twice;
    `numbers`: what else the optimizer takes there (weight decay, betas, momentum), by name.
    """

    modules: Mapping[str, ModuleReport]
    clock: int
    rates: Mapping[str, float]
    again: Mapping[str, float]
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRow:
    """One row of the metrics."""

    clock: int
    lr: float
    supervised: int
    numbers: Mapping[str, float] = field(default_factory=dict)  # others that a schedule gives, by name
    pairs: Mapping[str, float] = field(default_factory=dict)  # of preference training: the loss and its columns


@dataclass(frozen=True)
class PhaseReads:
    """What a phase read. `segments`: corpus -> (from, to, times read), in tokens of the corpus (pairs: items).

    `picked`: index of the source of each row, in order. `supervised_expected` is counted from the prepared corpus by
    the spans alone, `bos` in the rows, `begun` are the documents whose first token was read. `outside` rows' spans
    belong to no source of the phase; `foreign` tokens are not those of the corpus at the place that the row names.
    """

    segments: Mapping[str, tuple[tuple[int, int, int], ...]]
    picked: tuple[int, ...]
    supervised_expected: int
    bos: int
    begun: int
    outside: int
    foreign: int


@dataclass(frozen=True)
class ExitReport:
    """Ouro's exit distribution on a row of the last batch: sums over the loops, entropies in nats, loops."""

    sums: tuple[float, ...]
    entropies: tuple[float, ...]
    loops: int


@dataclass(frozen=True)
class PairReport:
    """A pair of answers after the last update, the chosen one first. `ratios`: log p of each under the policy less that
    under the reference (of means, where the phase says so), as the objective has it; `policy` and `reference`: log p
    of each, sums over its tokens, from the models alone.
    """

    ratios: tuple[float, float]
    policy: tuple[float, float]
    reference: tuple[float, float]


@dataclass(frozen=True)
class ConfigReport:
    """The fields of a written config.json that say how positions work, as other software reads them."""

    max_position: int
    rope_theta: float
    rope_scaling: Mapping[str, object] | None
    rotary_dim: int


@dataclass(frozen=True)
class EndReport:
    """After the last step. `reads` is None where the engine does not say what it read, `rows` has every step.

    `frozen_before` and `frozen_after` are the copies that were read besides the modules.
    """

    steps: int
    consumed: int
    clock: int
    rows: tuple[StepRow, ...]
    before: Mapping[str, Digests]
    after: Mapping[str, Digests]
    reads: tuple[PhaseReads, ...] | None
    lineage: Mapping[str, tuple[tuple[int, int], ...]]  # corpus -> what the stages above read
    exits: ExitReport | None
    pair: PairReport | None = None
    frozen_before: Mapping[str, Digests] = field(default_factory=dict)
    frozen_after: Mapping[str, Digests] = field(default_factory=dict)
