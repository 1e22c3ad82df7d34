"""Resolved phases: what a stage reads, in which batches and lengths, and under which objective."""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar, Literal, assert_never

from stages.spec.frozen import Frozen
from stages.spec.resolved_training import Schedule


class Source(Frozen):
    """One corpus of a mixture and the stretch of it that this phase may read.

    `start` and `end` are offsets into the corpus (tokens for token corpora, items for image-pair corpora): the
    documents (items) that *begin* in [start, end) belong to this phase and to no other along the lineage.
    """

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"kind"})  # it follows from the digest
    corpus: str
    group: Literal["text", "multimodal"]
    weight: int  # share within its group = weight / sum of weights of the group
    start: int
    end: int
    digest: str  # blake3 of the prepared corpus, as declared in its data spec
    kind: str = ""  # text, sft, multimodal, pairs or preference: what its documents are


class ShareRamp(Frozen):
    """Multimodal share over a phase's samples: linear from first to last over the first `over` samples, then last.

    Shares are exact rationals (numerator, denominator) of samples.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    over: int

    @property
    def ends(self) -> tuple[Fraction, Fraction]:
        """The first share and the last."""
        return Fraction(*self.first), Fraction(*self.last)

    def mean(self, samples: int) -> Fraction:
        """The mean share of a phase of so many samples."""
        first, last = self.ends
        return last - (last - first) / 2 * Fraction(min(self.over, samples), samples)


class BatchStep(Frozen):
    """From the first step border at or past `after` ledger units of this phase: `sequences` per step."""

    after: int
    sequences: int


class Resolution(Frozen):
    """CoCa's resolution cap (pixels, longer side) from `after` ledger units of the phase on."""

    after: int
    cap: int


class Router(Frozen):
    """MoE balancing (DeepSeek-V3): bias step u, and weight of the sequence-level auxiliary loss."""

    bias_update: float | Schedule
    aux_loss: float | Schedule


class Loops(Frozen):
    """Ouro: number of loops T and weight of the entropy term (arXiv 2510.25741, eq. 4)."""

    count: int
    beta: float | Schedule


class Coca(Frozen):
    """CoCa objective: L_siglip + caption_weight * L_caption; pairs per packed row by resolution cap."""

    caption_weight: float | Schedule
    resolutions: tuple[Resolution, ...]


PreferenceLoss = Literal["dpo", "apo_zero"]
AnswerLength = Literal["sum", "mean"]
TurnEnds = Literal["learned", "masked"]


class Preference(Frozen):
    """Preference training (`stages/train/objectives/preference.py` has the formulas).

    `answers`: whether an answer's log-probability is the sum over its tokens or their mean. `turn_ends`: whether the
    tokens that end a turn or a document are among them. `nll`: weight of -log p of the chosen answer, a mean over its
    tokens.
    """

    loss: PreferenceLoss
    beta: float
    answers: AnswerLength
    turn_ends: TurnEnds
    nll: float


ObjectiveName = Literal["next_token", "looped", "coca", "align", "joint", "sft", "preference"]
ANSWERS_ALONE: tuple[ObjectiveName, ...] = ("sft", "preference")  # of conversations, whose rows contain whole documents


Packing = Literal["concatenate", "whole", "fixed"]


def both_answers(kind: str) -> str:
    """What of a document's length a message about corpora of a kind has to say: of a pair, that it is one document."""
    return " (of a pair, both answers with the prompt before each count together)" if kind == "preference" else ""


def packs_whole(packing: Packing, objective: ObjectiveName, kind: str) -> bool:
    """Whether a corpus of a kind is packed in whole documents.

    A picture must not be cut in two, so corpora with pictures always are. Plain text next to conversations never is: it
    is replayed as pre-training read it, in windows, and no document is too long for that.
    """
    if kind == "multimodal":
        return True
    if objective == "sft" and kind == "text":
        return False
    match packing:
        case "concatenate":
            return False
        case "whole" | "fixed":
            return True
        case _:
            assert_never(packing)


class Phase(Frozen):
    """A stretch of a stage with one objective, length and mixture. Units: the ledger's (LLM tokens, image patches)."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"name"})
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"z_loss", "preference"})
    name: str
    objective: ObjectiveName
    unit: Literal["tokens", "patches"]
    budget: int
    clock_start: int  # the schedule's clock when the phase begins
    context: int  # positions in a sequence (a packed row)
    batch: tuple[BatchStep, ...]
    micro_batch: int  # sequences per logical micro-batch; fixes the order of every sum
    epochs: int
    document_mask: bool
    # Windows of concatenated documents | whole documents, padded, packed again each epoch | the same, packed once in
    # the corpus's order, so that an epoch has a known number of rows.
    packing: Packing
    sources: tuple[Source, ...]
    share: ShareRamp | None  # None: one group only
    loops: Loops | None
    router: Router | None
    coca: Coca | None
    z_loss: float | Schedule | None = None  # weight of log(Z)^2 of every supervised position
    preference: Preference | None = None

    @property
    def clock_end(self) -> int:
        """The schedule's clock when the phase ends."""
        return self.clock_start + self.budget

    def whole(self, kind: str) -> bool:
        """Whether a corpus of this kind is packed in whole documents."""
        return packs_whole(self.packing, self.objective, kind)

    @property
    def answers_alone(self) -> bool:
        """Whether only what the corpora's masks mark is learned, and no document is cut."""
        return self.objective in ANSWERS_ALONE

    @property
    def replayed(self) -> tuple[str, ...]:
        """Corpora of plain text next to conversations: all their tokens are learned, and they are read in windows."""
        return tuple(one.corpus for one in self.sources if self.objective == "sft" and one.kind == "text")
