"""What a stage is once its spec, its parents and its scale are put together: plain, frozen, complete.

This is the one interface between the specs and everything that runs. An engine is given a `Stage`; the keys are
hashes of its identity fields; plans, checks and snapshots read it. It holds no paths and no defaults: every field
that changes numerics is spelled out. Token counts are integers; shares are integer weights.

Fields are *identity* (they change what is computed) unless they are listed in `EXECUTION_FIELDS` or
`DESCRIPTIVE_FIELDS` of their class, which the key leaves out.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of all resolved values: immutable, nothing unknown, nothing converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    EXECUTION_FIELDS: ClassVar[frozenset[str]] = frozenset()
    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset()


# ---------------------------------------------------------------- positions


class Llama3Scaling(Frozen):
    """Llama 3.1's frequency-dependent scaling (transformers' rope_type "llama3"); lengths in tokens."""

    factor: float
    low: float
    high: float
    original: int


class Rope(Frozen):
    """Rotary positions: frequencies base^(-2i/d), then llama3 scaling, then division of all by `interpolation`."""

    base: float
    llama3: Llama3Scaling | None
    interpolation: float  # position interpolation (Chen et al. 2023): 1.0 = none


# ---------------------------------------------------------------- architectures


class LlamaModel(Frozen):
    """Llama 3: RMSNorm, SwiGLU, grouped-query attention, rotary positions."""

    family: Literal["llama"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    norm_eps: float
    tied: bool
    init_std: float


class OuroModel(Frozen):
    """Ouro (LoopLM): one stack run T times, four norms a layer, shared final norm each loop, exit gate."""

    family: Literal["ouro"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    norm_eps: float
    tied: bool
    init_std: float
    post_norm_gain: float  # what the gains of the norms behind the sub-layers start at


class MoonlightModel(Frozen):
    """Moonlight (DeepSeek-V3 architecture): MLA, shared + routed experts, sigmoid router with bias balancing."""

    family: Literal["moonlight"]
    layers: int
    dense_layers: int  # the first layers whose FFN is dense
    hidden: int
    ffn: int
    heads: int
    vocab: int
    kv_lora_rank: int
    qk_nope_dim: int
    qk_rope_dim: int
    v_head_dim: int
    experts: int
    active_experts: int
    shared_experts: int
    expert_ffn: int
    routed_scale: float
    norm_eps: float
    tied: bool
    init_std: float


class MoonViTModel(Frozen):
    """MoonViT: packed native-resolution patches, interpolated 2D position table and 2D RoPE."""

    family: Literal["moonvit"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    patch: int  # pixels a side
    channels: int
    table: int  # learned position table, table x table
    rope_base: float
    norm_eps: float
    init_std: float


class TextTowerModel(Frozen):
    """SigLIP's text encoder: bidirectional, last-token pooling, a projection to the shared space."""

    family: Literal["text_tower"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    length: int
    norm_eps: float
    init_std: float


class CaptionDecoderModel(Frozen):
    """CoCa's tiny decoder: causal over the caption, cross-attending to the image's patch features."""

    family: Literal["caption_decoder"]
    layers: int
    hidden: int
    ffn: int
    heads: int
    vocab: int
    length: int
    vision_hidden: int
    norm_eps: float
    init_std: float


class ContrastiveModel(Frozen):
    """SigLIP's attention-pooling head over patch features, and the loss's learnable t = exp(t') and bias b.

    `hidden` is the shared space: the vision tower's and the text tower's hidden size must both equal it.
    """

    family: Literal["contrastive"]
    hidden: int
    ffn: int
    heads: int
    norm_eps: float
    init_std: float
    init_log_temperature: float
    init_bias: float


class ProjectorModel(Frozen):
    """Kimi-VL's projector: LayerNorm, merge x merge pixel shuffle, two linear layers with GELU."""

    family: Literal["projector"]
    vision_hidden: int
    merge: int
    llm_hidden: int
    norm_eps: float
    init_std: float


Model = Annotated[
    LlamaModel
    | OuroModel
    | MoonlightModel
    | MoonViTModel
    | TextTowerModel
    | CaptionDecoderModel
    | ContrastiveModel
    | ProjectorModel,
    Field(discriminator="family"),
]


# ---------------------------------------------------------------- learning rate


class Piece(Frozen):
    """A piece of a schedule over the clock interval (start, end]: the stretch p0..p1 of a shape from first to last.

    Cutting a shape at a stage border gives two pieces with touching p0/p1 and the same first/last, so the curve
    does not depend on where stages are cut. p0 and p1 are exact rationals (numerator, denominator).
    """

    start: int
    end: int
    shape: Literal["linear", "constant", "cosine"]
    first: float
    last: float
    p0: tuple[int, int]
    p1: tuple[int, int]


class Schedule(Frozen):
    """A named learning-rate schedule, as far as this stage can see it: pieces from clock 0 to the stage's end."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"name", "jumps"})
    name: str
    pieces: tuple[Piece, ...]
    jumps: tuple[tuple[int, str], ...] = ()  # (clock, reason): where a discontinuity is declared


# ---------------------------------------------------------------- optimizer


class AdamW(Frozen):
    """AdamW with decoupled decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"]
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    decay: Literal["all", "matrices"]  # which parameters are decayed
    clip: float  # global gradient norm


class Muon(Frozen):
    """Muon as in Moonlight (arXiv 2502.16982): matrices by Newton-Schulz, the rest (and embeddings, head) by AdamW."""

    kind: Literal["muon"]
    momentum: float
    nesterov: bool
    newton_schulz: tuple[float, float, float]
    newton_schulz_steps: int
    update_rms: float  # 0.2 in update_rms * sqrt(max(A, B))
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    decay: Literal["all", "matrices"]
    clip: float  # norm of the raw gradients of the AdamW group


Optimizer = Annotated[AdamW | Muon, Field(discriminator="kind")]


# ---------------------------------------------------------------- data


class Source(Frozen):
    """One corpus of a mixture and the stretch of it that this phase may read.

    `start` and `end` are offsets into the corpus (tokens for token corpora, items for image-pair corpora): the
    documents (items) that *begin* in [start, end) belong to this phase and to no other along the lineage.
    """

    corpus: str
    group: Literal["text", "multimodal"]
    weight: int  # share within its group = weight / sum of weights of the group
    start: int
    end: int
    digest: str  # blake3 of the prepared corpus, as declared in its data spec


class ShareRamp(Frozen):
    """Multimodal share over a phase's samples: linear from first to last over the first `over` samples, then last.

    Shares are exact rationals (numerator, denominator) of samples.
    """

    first: tuple[int, int]
    last: tuple[int, int]
    over: int


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

    bias_update: float
    aux_loss: float


class Loops(Frozen):
    """Ouro: number of loops T and weight of the entropy term (arXiv 2510.25741, eq. 4)."""

    count: int
    beta: float


class Coca(Frozen):
    """CoCa objective: L_siglip + caption_weight * L_caption; pairs per packed row by resolution cap."""

    caption_weight: float
    resolutions: tuple[Resolution, ...]


ObjectiveName = Literal["next_token", "looped", "coca", "align", "joint", "sft"]


class Phase(Frozen):
    """A stretch of a stage with one objective, length and mixture. Units: the ledger's (LLM tokens, image patches)."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"name"})
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
    packing: Literal["concatenate", "whole"]  # windows of concatenated documents | whole documents, padded
    sources: tuple[Source, ...]
    share: ShareRamp | None  # None: one group only
    loops: Loops | None
    router: Router | None
    coca: Coca | None


# ---------------------------------------------------------------- edges


class Init(Frozen):
    """Where one module's weights come from, and what becomes of its optimizer state."""

    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset({"stand_in"})
    weights: Literal["fresh", "inherit", "upcycle", "release"]
    parent: str | None  # "pipeline/stage", for inherit and upcycle
    release: str | None  # name of a released model that the user supplies as a folder
    optimizer: Literal["inherit", "reset"]
    layer_map: tuple[int, ...] | None  # upcycle: child layer i is a copy of parent layer layer_map[i]
    stand_in: bool  # a release replaced by a fresh start, at scales that do not have it


class Evaluation(Frozen):
    """Which evaluations run before and after the stage (see stages/evals)."""

    names: tuple[str, ...]
    context: int  # length of the held-out windows
    old_context: int | None  # the parent's context, where this stage extends it
    samples: int


class Execution(Frozen):
    """How a stage is run; never part of its identity."""

    engine: str
    device: Literal["cpu", "cuda"]
    threads: int
    ranks: int
    nodes: int
    memory_mb: int
    time_limit_min: int
    checkpoint_every: int  # steps
    keep_partials: int


class Stage(Frozen):
    """One box of a figure at one scale."""

    EXECUTION_FIELDS: ClassVar[frozenset[str]] = frozenset({"execution", "evaluation"})
    DESCRIPTIVE_FIELDS: ClassVar[frozenset[str]] = frozenset(
        {"pipeline", "name", "box", "scale", "max_context", "waivers"}
    )
    pipeline: str
    name: str
    box: str  # the figure's words
    scale: str
    kind: Literal["import", "train", "upcycle", "keep", "export"]
    engine_class: str  # what the numbers depend on: "torch-fp32", "torch-bf16", ...
    seed: int
    parents: tuple[str, ...]  # "pipeline/stage", sorted; a reading's parent may live in the pipeline it extends
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
    waivers: tuple[tuple[str, str], ...] = ()  # (invariant, reason): what need not hold here
