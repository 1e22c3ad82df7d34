"""Memory of one rank of the NeMo engine under its layout, part by part.

A parameter in bf16 has 2 bytes, an fp32 gradient in Core's buffer (4), an fp32 master copy and the optimizer's moments
(Core's distributed optimizer: 6 + 12/d bytes with AdamW, d replicas); in fp32 4, 4 and the moments. Tensor parallel
ranks divide matrices, pipeline ranks layers, expert parallel ranks routed experts. Where the optimizer is distributed,
replicas and context parallel ranks divide its state. The reference of preference training has the model's weights once
more, of 2 or 4 bytes; its passes keep nothing, so they take less than a step's.

The worst pipeline rank is the first: it has the embedding, the modules besides the language model, and the activations
of as many micro-batches as there are pipeline ranks (1F1B, arXiv 2104.04473, section 2.2.1; interleaved
1 + (p - 1)/(p v) times as many, arXiv 2205.05198, section 4.2.3). The last has the loss. Both are counted, which is on
the safe side.

Activations are the numbers that our layers keep (`memory_layers`), with what is around norms divided over tensor
parallel ranks only under sequence parallelism (arXiv 2205.05198, section 4.2.2). Recomputed in full, a layer keeps its
input. Context parallel ranks keep one layer's keys and values of whole rows, and their gradients, at a time.

An evaluation takes less than a step: it has as many positions at most, keeps nothing for a backward pass, and makes
logits of a few positions at a time (stages/engines/nemo/divided.py; tests/nemo/test_traced.py compares both).

Never measured on a GPU; that its allocator reserves a tenth more than what is alive is assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.contract import layouts, memory_engine, memory_layers, memory_states
from stages.contract.cost_phase import loops
from stages.contract.hardware import Hardware
from stages.contract.memory_layers import FP32, HALF
from stages.contract.memory_states import Memory
from stages.contract.parameters import parameters, routed, total
from stages.spec.decoder import Dense, Latent
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import MoonViTModel, ProjectorModel
from stages.spec.resolved_parallel import Parallel, computes_in_bf16
from stages.spec.resolved_phases import Phase

# Bytes of a process on a CPU beyond a torch engine's: Core, Bridge and torch's CUDA build, of which 0.4 GB are pages of
# files. Chosen so that no miniature is above its plan: nine stages of mini_nemo held 1.07 to 1.17 GB.
IMPORTED = 650_000_000
GATHERED = 4  # copies of a row's keys and values: gathered, their gradient, what is sent and what is received of it
ENDS = 2  # states of the width of the stream at a model's ends: embeddings, and what the final norm puts out
PATCHES = 8192  # of images that are computed at once where layers are computed again (stages/engines/nemo/vision.py)
CHECKED = 2  # a layer that is computed again is whole twice: its numbers and their gradients


@dataclass(frozen=True)
class Shares:
    """Parameters of the fullest rank: all it has, those that move, and those of routed experts among the latter."""

    whole: float
    moving: float
    experts: float


def of(stage: Stage, phase: Phase, layout: Parallel, hardware: Hardware) -> Memory:
    """Memory of the fullest rank under the layout that the stage states, whether it fits or not."""
    own = shares(stage, layout)
    width = HALF if computes_in_bf16(stage.engine_class) else FP32
    copies = 2 if stage.read_frozen else 1  # the reference of preference training, divided as the model is
    states = copies * width * own.whole + _optimizer(stage, layout, own)
    activations = loss = 0.0
    for model in layouts.language_models(stage):
        activations += _activations(model, stage, phase, layout)
        loss = max(loss, _loss(model, stage, phase, layout))
    activations += _beside(stage, phase, layout, hardware)
    if (copied := _copied(stage, layout, own)) > activations + loss:
        activations, loss = copied, 0.0
    parts = (int(states), int(FP32 * own.moving), int(activations), int(loss))
    runtime = hardware.runtime + (IMPORTED if stage.execution.device == "cpu" else 0)
    reserved = memory_engine.spare(stage, sum(parts))
    return Memory(layout.words, parts[0], parts[2], runtime, parts[1], parts[3], reserved)


def shares(stage: Stage, layout: Parallel) -> Shares:
    """How much of the stage's parameters the first pipeline rank has."""
    whole = moving = experts = 0.0
    for name, model in stage.modules.items():
        of_experts = 0.0
        if isinstance(model, LanguageModel):
            count = parameters(model)
            of_experts = routed(model.parts) / (layout.pp * layout.ep)
            layers = count.layers - routed(model.parts)
            ends = count.embedding + (count.head if layout.pp == 1 else 0)
            own = (layers / layout.pp + ends) / layout.tp + of_experts
        else:
            own = float(parameters(model).total)  # whole on every rank of the first stage
        whole += own
        if name in stage.trained:
            moving, experts = moving + own, experts + of_experts
    return Shares(whole, moving, experts)


def _optimizer(stage: Stage, layout: Parallel, own: Shares) -> float:
    """Of experts, over the replicas that each of them has."""
    each = _each(stage)
    if not layout.distributed_optimizer:
        return each * own.moving
    replicas = stage.execution.dp * layout.cp
    of_experts = max(1, stage.execution.ranks // (layout.pp * layout.ep))
    return each * ((own.moving - own.experts) / replicas + own.experts / of_experts)


def _each(stage: Stage) -> float:
    """Bytes of a parameter's moments, and of its master copy in bf16."""
    count = total(stage.modules[name] for name in memory_states.trained(stage))
    moments = sum(memory_states.moments(stage, name) for name in memory_states.trained(stage)) / count if count else 0
    return moments + (FP32 if computes_in_bf16(stage.engine_class) else 0)


def _copied(stage: Stage, layout: Parallel, own: Shares) -> float:
    """While a checkpoint is written there are no activations, and what replicas have divided is whole once more."""
    return _each(stage) * own.moving if layout.distributed_optimizer else 0.0


def _activations(model: LanguageModel, stage: Stage, phase: Phase, layout: Parallel) -> float:
    bf16 = computes_in_bf16(stage.engine_class)
    width = HALF if bf16 else FP32
    count = phase.micro_batch * phase.context / layout.cp
    stream = layout.tp if layout.sequence_parallel else 1
    kept = memory_layers.saved(model, phase.document_mask, count, phase.context)
    shifted, turned = _of_core(model)
    whole = width * (kept.stream / stream + (kept.inner + shifted) / layout.tp + turned)
    again = width * model.hidden / stream if layout.layers_again else whole
    times = loops(model, phase)
    in_flight = 1 + (layout.pp - 1) / (layout.pp * layout.vpp) if layout.vpp > 1 else 1.0
    layers = model.layers * times * in_flight  # layers / pp of a rank, for pp micro-batches
    ends = ENDS * width * model.hidden * times / stream
    return count * (again * layers + CHECKED * whole + ends) + _gathered(model, phase, layout, width)


def _of_core(model: LanguageModel) -> tuple[int, int]:
    """Numbers a position that a layer of Core's keeps and ours does not: what the gate multiplies, to which Core adds
    an offset of 0; and cosines and sines, of queries and of keys, which each tensor parallel rank makes in each layer.
    """
    layer = model.parts.layers[-1]
    feed, attention = layer.feed_forward, layer.attention
    shifted = feed.ffn if isinstance(feed, Dense) else feed.shared * feed.ffn
    return shifted, 4 * (attention.rope if isinstance(attention, Latent) else attention.head_dim)


def _gathered(model: LanguageModel, phase: Phase, layout: Parallel, width: int) -> float:
    """Keys and values of whole rows, which context parallel ranks have of one layer at a time."""
    if layout.cp == 1:
        return 0.0
    numbers = model.parts.layers[0].attention.kept_for_rows
    return GATHERED * width * phase.micro_batch * phase.context * numbers / layout.tp


def _loss(model: LanguageModel, stage: Stage, phase: Phase, layout: Parallel) -> float:
    """Logits of one micro-batch, a rank's words: as computed, in fp32, as probabilities in fp32, and their gradient."""
    width = HALF if computes_in_bf16(stage.engine_class) else FP32
    count = phase.micro_batch * phase.context / layout.cp
    return count * model.vocab / layout.tp * 2 * (width + FP32)


def _beside(stage: Stage, phase: Phase, layout: Parallel, hardware: Hardware) -> float:
    """Vision tower and projector, under autocast: a rank computes all images of its rows.

    Computed again, a group of images is whole at a time; of all others there are the pixels and the features.
    """
    bf16, total = computes_in_bf16(stage.engine_class), 0.0
    for name, model in stage.modules.items():
        if isinstance(model, LanguageModel):
            continue
        count = memory_engine.at_once(stage, phase, name, hardware)
        whole = memory_layers.saved(model, phase.document_mask, count, phase.context).bytes(bf16)
        if isinstance(model, ProjectorModel):
            total += count * ENDS * (HALF if bf16 else FP32) * model.llm_hidden
        else:
            together = min(count, PATCHES) if layout.layers_again else count
            total += count * FP32 * model.channels * model.patch**2 if isinstance(model, MoonViTModel) else 0
            total += together * (whole * (memory_layers.layers(model) + 1) + ENDS * FP32 * model.hidden)
    return total
