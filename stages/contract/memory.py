"""Memory of one device and bytes on disk, estimated.

Bytes a parameter: in bf16 2 for the weight and 2 for its gradient as computed, with an fp32 master copy and the
optimizer's moments next to them (mixed precision, ZeRO, arXiv 1910.02054, section 3.1); in fp32 4 and 4, no copy.
AdamW keeps two fp32 moments, Muon one for matrices. Frozen modules have their weights only.

Stages of the NeMo engine have the layout that they state (`memory_nemo`); what follows is for others.

Two layouts: "zero1" keeps weights and gradients whole on every rank and divides master copy and moments among all
ranks; "fsdp" divides everything, and keeps two layers' weights gathered. The first that fits is taken.

Activations, per position on a device: 34 x hidden bytes in bf16 for a layer without attention scores, which fused
attention does not keep (arXiv 2205.05198, section 4.1), twice that in fp32. With recomputation one layer at a time
is whole, of all others only the input is kept, and logits are made in chunks (Liger, arXiv 2410.10989). Logits are
held once in the precision trained in and once in fp32. A sequence is divided over ranks (context parallelism) where
a step has fewer sequences than the stage has ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from stages.contract import memory_engine, memory_nemo, memory_states
from stages.contract.cost_phase import loops
from stages.contract.hardware import Hardware
from stages.contract.memory_states import Memory
from stages.contract.parameters import parameters, total
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import CaptionDecoderModel, ContrastiveModel, MoonViTModel, TextTowerModel
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Optimizer

LAYER_BYTES = 34  # bytes of activations a position and hidden channel, 16 bits each
FP32 = 4
DIVIDED = "fsdp"  # the layout that divides weights and gradients over ranks
LayeredModel = LanguageModel | MoonViTModel | TextTowerModel | CaptionDecoderModel | ContrastiveModel
CHUNK = 4096  # positions whose logits are held at once, with recomputation


def of(stage: Stage, phase: Phase, hardware: Hardware) -> Memory:
    """The layout that fits the device, or the smallest one where none does.

    Of a stage that the torch engine trains, its own layout comes first; DIVIDED, which it does not have, says of GPUs
    that a whole model does not fit.
    """
    if stage.execution.parallel is not None:
        return memory_nemo.of(stage, phase, stage.execution.parallel, hardware)
    several, whole = stage.execution.ranks > 1, "zero1" if stage.execution.ranks > 1 else "one"
    if stage.prepared:
        found = [memory_engine.of(stage, phase, hardware, whole)]
    else:
        found = [Memory(whole, _states(stage, whole), _activations(stage, phase), hardware.runtime)]
    if several and not (stage.prepared and stage.execution.device == "cpu"):
        found.append(Memory(DIVIDED, _states(stage, DIVIDED), _activations(stage, phase), hardware.runtime))
    return next((memory for memory in found if memory.total <= hardware.memory), found[-1])


def of_evaluation(stage: Stage, read: Sequence[Phase], hardware: Hardware) -> Memory | None:
    """Of a stage without steps that is evaluated, whole on one device under every engine; None of any other. `read`
    are the phases whose corpora it is evaluated on.
    """
    evaluated = not stage.phases and stage.evaluation.names and read
    return memory_engine.evaluating(stage, read, hardware) if evaluated else None


def checkpoint(stage: Stage, state: Mapping[str, Optimizer]) -> int:
    """Bytes of a stage's result or partial checkpoint: fp32 weights of all modules, and the optimizer's state.

    `state` says of which modules that is there, and what made it: an upcycle has the moments that it takes over
    (ResolvedPipeline.states). A module that the stage does not have is not counted: I-23 finds it.
    """
    weights = total(stage.modules.values())
    known = {name: optimizer for name, optimizer in state.items() if name in stage.modules}
    return FP32 * weights + sum(memory_states.state(stage.modules[name], one) for name, one in known.items())


def copied(stage: Stage) -> int:
    """Bytes of the host's memory in which the first rank copies the state: on GPUs, checkpoints are written from it
    while training goes on.
    """
    if not stage.phases or stage.optimizer is None or stage.execution.device != "cuda":
        return 0
    return checkpoint(stage, dict.fromkeys(stage.trained, stage.optimizer))


def disk(stage: Stage, state: Mapping[str, Optimizer]) -> int:
    """Bytes that the stage needs at most: partial checkpoints kept, ends of phases, and the result; `state` as for
    `checkpoint`.
    """
    if stage.kind in ("keep", "export"):
        return 0  # a pointer, and a release of weights that are there already
    partials = stage.execution.keep_partials + len(stage.phases) - 1 if stage.phases else 0
    return checkpoint(stage, state) * (partials + 1)


def disk_of_all(stages: Iterable[tuple[int, int]]) -> int:
    """Bytes of all results, and the partial checkpoints of the one that keeps most, from (checkpoint, disk) of each."""
    kept = [(result, most) for result, most in stages if most]
    return sum(result for result, _ in kept) + max((most - result for result, most in kept), default=0)


def _states(stage: Stage, layout: str) -> int:
    half = computes_in_bf16(stage.engine_class)
    whole, divided = memory_states.read_frozen(stage), 0
    gathered = 0
    for name, model in stage.modules.items():
        count, width = parameters(model).total, 2 if half else FP32
        whole += width * count
        gathered = max(gathered, 2 * width * count // getattr(model, "layers", 1))
        if name in stage.trained:
            whole += width * count
            divided += memory_states.moments(stage, name) + (FP32 * count if half else 0)
    ranks = stage.execution.ranks
    if layout == DIVIDED:
        return (whole + divided) // ranks + gathered
    return whole + divided // ranks


def positions(stage: Stage, phase: Phase) -> float:
    """Positions that one device works on at once."""
    largest = max(rung.sequences for rung in phase.batch)
    return phase.context * min(phase.micro_batch, largest / stage.execution.ranks)


def _activations(stage: Stage, phase: Phase) -> int:
    width = 1 if computes_in_bf16(stage.engine_class) else 2  # relative to bf16
    again = stage.execution.recomputes
    at_once = positions(stage, phase)
    total = 0.0
    for model in stage.modules.values():
        if isinstance(model, LanguageModel):
            total += at_once * _kept(model, loops(model, phase), width, again)
            total += _rows_of_logits(model, at_once, again) * (2 * width + FP32) * model.vocab
            continue
        match model.family:
            case "projector":
                pass  # one pair of layers on a quarter of the patches
            case "moonvit" | "text_tower" | "caption_decoder" | "contrastive":
                total += at_once * _kept(model, 1, width, again)
            case _:
                assert_never(model)
    return int(total)


def _rows_of_logits(model: LanguageModel, at_once: float, recomputed: bool) -> float:
    """Positions whose logits exist together; of a looped model kept whole, none: its loss is taken in small blocks."""
    if recomputed:
        return min(at_once, CHUNK)
    return 0 if model.LOOPED else at_once


def _kept(model: LayeredModel, loops: int, width: int, recomputed: bool) -> int:
    """Bytes a position of a module's layers; the contrastive head counts as one."""
    layers = loops * (1 if isinstance(model, ContrastiveModel) else model.layers)
    whole = LAYER_BYTES * width * model.hidden
    return whole + 2 * width * model.hidden * layers if recomputed else whole * layers
