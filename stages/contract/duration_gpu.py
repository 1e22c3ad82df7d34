"""How long a phase takes the torch engine on a GPU in bf16, where a profile says at what rates its work is done.

Four kinds of work, one after another: products with weights, attention, what is moved through memory around them, and
the optimizer's update. Their rates and the bytes were read off one H200 (results/records/gpu.md); the sums are within a
tenth of the steps measured there (tests/unit/plan/test_gpu_record.py).
"""

from __future__ import annotations

from stages.contract import ledger
from stages.contract.cost import FLOPS_PER_MAC
from stages.contract.cost_phase import Assumed, Module, loops, modules
from stages.contract.hardware import Hardware, Rates
from stages.contract.parameters import parameters
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import computes_in_bf16
from stages.spec.resolved_phases import Phase

LAYER = 512  # bytes a number of the stream in each layer: norms, rotations, gates, sums, conversions, both passes
AGAIN = 4 / 3  # of them where a layer is run a second time
LOSS = 20  # bytes a logit: written, its softmax, its gradient
UPDATE = 32  # bytes a parameter: gradient, weight and both moments are read, three of them written; copies, norm


def applies(stage: Stage, phase: Phase, hardware: Hardware) -> bool:
    """Whether a phase is timed here: of tokens, on the torch engine in bf16, with rates to go by."""
    on_gpu = stage.execution.device == "cuda" and stage.execution.parallel is None
    return on_gpu and hardware.rates is not None and phase.objective != "coca" and computes_in_bf16(stage.engine_class)


def device_seconds(stage: Stage, phase: Phase, hardware: Hardware, assumed: Assumed) -> float:
    """Seconds of one device for the whole phase; ranks share them."""
    if hardware.rates is None:
        raise ValueError(f"{hardware.name} has no rates")
    found = modules(stage, phase, assumed)
    products = sum(_products(one, stage, phase) for one in found) / (hardware.peak * hardware.rates.products)
    attended = sum(FLOPS_PER_MAC * one.work.attention * (1 + 2 * one.gradient) for one in found)
    moved = sum(_moved(one, stage, phase) for one in found)
    return (
        products + attended / (hardware.peak * _of_attention(stage, hardware.rates)) + moved / hardware.rates.bandwidth
    )


def _of_attention(stage: Stage, rates: Rates) -> float:
    return rates.attention_exact if stage.execution.exact else rates.attention_fast


def _products(one: Module, stage: Stage, phase: Phase) -> float:
    """Operations with weights; of recomputed layers, all but the output matrix's once more."""
    passes = 1 + one.moves + one.gradient
    found = one.work.weights * passes
    if stage.execution.recomputes and one.gradient:
        width = one.model.hidden if isinstance(one.model, LanguageModel) else 0
        found += one.work.weights - _logits(one, phase) * width
    return FLOPS_PER_MAC * found


def _moved(one: Module, stage: Stage, phase: Phase) -> float:
    """Bytes through memory: of a language model's stream and loss, and of the update."""
    moved = 0.0
    if isinstance(one.model, LanguageModel):
        numbers = phase.budget * one.model.layers * one.model.hidden * loops(one.model, phase)
        moved = LAYER * numbers * (AGAIN if stage.execution.recomputes else 1) + LOSS * _logits(one, phase)
    return moved + UPDATE * parameters(one.model).total * ledger.count(phase) * one.moves


def _logits(one: Module, phase: Phase) -> int:
    return phase.budget * one.model.vocab * loops(one.model, phase) if isinstance(one.model, LanguageModel) else 0
