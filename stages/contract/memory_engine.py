"""Memory of one rank of the torch engine, part by part, at the worst moment of a step or of an evaluation.

Weights are fp32 and whole on every rank; with autocast there are copies in bf16. The optimizer's moments are divided
among ranks. While a micro-batch is differentiated, the partial sums of those before it are alive, one fp32 gradient for
each level of the tree (stages/train/reduce.py). Of two micro-batches, the first makes a gradient, which grows until it
is whole; the second adds to it, one tensor at a time. Afterwards there is one gradient, next to what the optimizer
makes for a moment. An evaluation has no gradients; its rows are many.

Measured on CPUs with `python -m benchmarks.memory` (docs/plan-and-diff.md), and on a GPU by `make device`
(results/records/gpu.md): its caching allocator, with segments of fixed size, held 3% to 30% more than was alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from stages.contract import memory_layers, memory_states
from stages.contract.cost_phase import loops
from stages.contract.hardware import Hardware
from stages.contract.memory_layers import FP32
from stages.contract.memory_states import Memory
from stages.contract.parameters import parameters, total
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import CaptionDecoderModel, Model, ProjectorModel, TextTowerModel
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase

MEGA = 10**6
# What the C library's heap keeps of freed memory: all of a miniature's, then a share, since new pieces do not fit into
# the gaps; pieces above 32 MiB go back to the system. Fitted to fifteen models of 7 to 119 million parameters
# (tests/unit/plan/test_memory_engine.py).
HEAP, GAPS, MOST = 150 * MEGA, 0.45, 900 * MEGA
CACHED = 0.10  # of what is alive: what a GPU's caching allocator reserves beyond it, the middle of four measured
EVALUATED = 8192  # tokens of a batch of an evaluation (stages/evals/whole.py, which a test compares)
AT_A_TIME = 0.75  # of what a pass would keep for a backward one, what one without has at once; traced: 0.4 to 0.7
MULTIPROCESSORS = 132  # of an H100 or H200
NEWTON_SCHULZ = 5  # copies of the matrices of one shape that an orthogonalisation has at once

HEADED = LanguageModel | CaptionDecoderModel


def of(stage: Stage, phase: Phase, hardware: Hardware, layout: str) -> Memory:
    """A rank's memory at the worst moment of a phase."""
    states = memory_states.states(stage)
    moments = [*_training(stage, phase, hardware), _update(stage), _evaluation(stage, phase)]
    gradients, activations, loss = max(moments, key=sum)
    activations += _masks(stage, max(phase.context, stage.evaluation.context if stage.evaluation.names else 0))
    reserved = spare(stage, states + gradients + activations + loss)
    return Memory(layout, states, activations, hardware.runtime, gradients, loss, reserved)


def evaluating(stage: Stage, read: Sequence[Phase], hardware: Hardware) -> Memory:
    """Of evaluations of a stage without steps, on the corpora of the phases `read`. Weights are rounded where they are
    used, and losses are taken after the layers, in chunks.
    """
    states = FP32 * total(stage.modules.values())
    activations = int(AT_A_TIME * max(_evaluation(stage, phase)[1] for phase in read))
    activations += _masks(stage, max(stage.evaluation.context, *(phase.context for phase in read)))
    return Memory("one", states, activations, hardware.runtime, spare=spare(stage, states + activations))


def spare(stage: Stage, alive: int) -> int:
    """What the allocator reserves beyond what is alive."""
    match stage.execution.device:
        case "cpu":
            return min(alive, HEAP + int(GAPS * alive), MOST)
        case "cuda":
            return int(CACHED * alive)
        case _:
            assert_never(stage.execution.device)


def _masks(stage: Stage, context: float) -> int:
    bf16, on_gpu = computes_in_bf16(stage.engine_class), stage.execution.device == "cuda"
    return int(sum(memory_layers.masks(model, context, bf16, on_gpu) for model in stage.modules.values()))


Moment = tuple[int, int, int]  # bytes of gradients, activations, loss


def _gradient(stage: Stage) -> int:
    return FP32 * total(stage.modules[name] for name in memory_states.trained(stage))


def partial_sums(stage: Stage, phase: Phase) -> list[int]:
    """Sums of gradients that are alive at most, on one rank, besides what the micro-batch in work makes: the first of
    two, and, where a rank has two, the second, which is added to the first's gradient, one of these sums.
    """
    batches = -(-max(rung.sequences for rung in phase.batch) // phase.micro_batch)
    own = -(-batches // stage.execution.ranks)
    pairs = -(-own // 2)
    return [pairs.bit_length() - 1, *([own.bit_length() - 1] if own > 1 else [])]


def _training(stage: Stage, phase: Phase, hardware: Hardware) -> list[Moment]:
    """Moments of a micro-batch, of the first of two and of the second.

    On a CPU one that bounds them all: what it makes of a gradient next to activations that are whole, and one layer's
    again for its gradients. On a GPU four: the loss, whose matrix's gradient is the first; the last layer's backward
    pass, for which a recomputed layer is whole; that of its attention; the first layer's, when the gradient is.
    """
    bf16, device = computes_in_bf16(stage.engine_class), stage.execution.device
    kept = layer = loss = attended = 0.0
    for name, model in stage.modules.items():
        count = at_once(stage, phase, name, hardware)
        kept += count * _kept(model, phase, stage, count)
        layer += count * _layer(model, phase, stage, count)
        if isinstance(model, LanguageModel):
            heads = model.heads * phase.micro_batch
            apart = max(MULTIPROCESSORS, heads) if _apart(stage, hardware) else heads
            attended += memory_layers.differentiated(model, _laid_out(phase, stage), bf16, count, apart * phase.context)
        if isinstance(model, HEADED):
            loss = max(loss, memory_layers.head(model, count * loops(model, phase), bf16, device))
    again = layer if stage.execution.recomputes else 0.0
    first = FP32 * sum(_output_matrix(stage.modules[name]) for name in memory_states.trained(stage))
    found: list[Moment] = []
    for sums, made in zip(partial_sums(stage, phase), (_gradient(stage), _added(stage, phase)), strict=False):
        before = sums * _gradient(stage)
        match device:
            case "cpu":
                found.append((before + made, int(kept + layer + again), int(loss)))
            case "cuda":
                found += [
                    (before + first, int(kept), int(loss)),
                    (before + first, int(kept + again), 0),
                    (before + first, int(kept + attended), 0),
                    (before + made, int(layer), 0),
                ]
            case _:
                assert_never(device)
    return found


def _added(stage: Stage, phase: Phase) -> int:
    """Bytes of what waits to be added to the gradient of the micro-batch before: a layer's, and the largest table's,
    which comes last where the output matrix is the table. A looped model's wait for its first loop: all of them.
    """
    found = 0
    for name in memory_states.trained(stage):
        model = stage.modules[name]
        if loops(model, phase) > 1:
            return _gradient(stage)
        count, number = parameters(model), max(1, memory_layers.layers(model))
        layer = count.layers // number
        found = max(found, layer + max(count.embedding, count.head))
    return FP32 * found


def _apart(stage: Stage, hardware: Hardware) -> bool:
    """Whether blocks of threads add up the queries' gradients apart: in FlashAttention 2's deterministic kernel, one a
    head of each row, at least one a multiprocessor (stages/models/attention_calls.py).
    """
    flash4 = hardware.rates is not None and hardware.rates.flash4
    return stage.execution.exact and not flash4


def _output_matrix(model: Model) -> int:
    return model.vocab * model.hidden if isinstance(model, HEADED) else 0


def _kept(model: Model, phase: Phase, stage: Stage, positions: float) -> float:
    """Bytes a position of a module: its layers', and the stream's ends: embeddings, final norm, states, rotary tables.

    Recomputed, every layer keeps its input and what attention put out.
    """
    width = model.llm_hidden if isinstance(model, ProjectorModel) else model.hidden
    number, ends = memory_layers.layers(model) * loops(model, phase), 4 * FP32 * width * loops(model, phase)
    if not stage.execution.recomputes:
        return ends + _layer(model, phase, stage, positions) * number
    attended = memory_layers.attended(model, _laid_out(phase, stage), computes_in_bf16(stage.engine_class))
    return ends + (FP32 * width + attended) * number


def _layer(model: Model, phase: Phase, stage: Stage, positions: float) -> float:
    """Bytes a position of a layer that keeps everything."""
    kept = memory_layers.saved(model, _laid_out(phase, stage), positions, phase.context)
    return kept.bytes(computes_in_bf16(stage.engine_class))


def _laid_out(phase: Phase, stage: Stage) -> bool:
    """Whether documents are attended as rows of their own; on a GPU in bf16 a kernel takes their borders."""
    borders = stage.execution.device == "cuda" and computes_in_bf16(stage.engine_class)
    return phase.document_mask and not borders


def at_once(stage: Stage, phase: Phase, name: str, hardware: Hardware) -> float:
    """Positions of a module in one micro-batch: tokens; patches; captions."""
    rows, model = phase.micro_batch, stage.modules[name]
    if phase.coca is not None:
        smallest = (phase.coca.resolutions[0].cap // (stage.tower.patch if stage.tower is not None else 1)) ** 2
        if isinstance(model, (TextTowerModel, CaptionDecoderModel)):
            return rows * max(1, phase.context // smallest) * model.length
        return rows * phase.context
    if model.family == "moonvit" or model.family == "projector":
        merge = next((one.merge for one in stage.modules.values() if isinstance(one, ProjectorModel)), 1)
        patches = rows * phase.context * float(hardware.positions) * merge**2
        return patches if model.family == "moonvit" else patches / merge**2
    return rows * phase.context


def _update(stage: Stage) -> Moment:
    """One gradient, and what the optimizer makes: AdamW's denominators on a CPU; Muon's momenta ahead and updates.

    AdamW makes those of a few tensors at a time. All are counted, since one tensor may have nearly all elements.
    """
    made = 0
    for name in memory_states.trained(stage):
        if stage.optimizer is None:
            continue
        matrices = memory_states.matrices(stage.optimizer, stage.modules[name])
        others = parameters(stage.modules[name]).total - matrices
        made = max(made, FP32 * others if stage.execution.device == "cpu" else 0)
        made = max(made, FP32 * (2 + NEWTON_SCHULZ) * matrices // stage.execution.ranks)
    return _gradient(stage) + made, 0, 0


def _evaluation(stage: Stage, phase: Phase) -> Moment:
    """A forward pass of one batch: a layer's numbers at most, the stream, and the states that the loss reads."""
    if not stage.evaluation.names:
        return 0, 0, 0
    bf16 = computes_in_bf16(stage.engine_class)
    positions = float(max(EVALUATED, stage.evaluation.context))
    passed = loss = 0.0
    for model in stage.modules.values():
        if isinstance(model, LanguageModel):
            layer = memory_layers.saved(model, phase.document_mask, positions, phase.context).bytes(bf16)
            passed = positions * (layer + 2 * FP32 * model.hidden * (1 + loops(model, phase)))
            loss = memory_layers.head(model, positions, False, stage.execution.device)
    return 0, int(passed), int(loss)
