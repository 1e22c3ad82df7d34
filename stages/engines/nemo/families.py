"""The models that this engine trains: what completes Bridge's provider of each, and what a micro-batch of it computes.

To add one: a case in both functions, its sizes in `config.model`, its names in `names.rules`.
"""

from __future__ import annotations

from typing import Any, assert_never

from stages.engines.nemo.causal import Causal, Work
from stages.engines.nemo.config.model import language_model
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase


def complete(stage: Stage, provider: Any) -> None:
    """Set what no configuration can name: layers, rotary positions."""
    cfg = language_model(stage)
    match cfg.family:
        case "llama":
            from stages.engines.nemo import llama

            llama.complete(stage, cfg, provider)
        case "moonlight":
            from stages.engines.nemo import moonlight, vision

            (vision if "vit" in stage.modules else moonlight).complete(stage, cfg, provider)
        case "ouro":
            from stages.engines.nemo import ouro

            ouro.complete(stage, cfg, provider)
        case _:
            assert_never(cfg)


def work(stage: Stage, phase: Phase, chunks: list[Any]) -> Work:
    """What a phase computes on these chunks; of preference training (see below), a model's forward pass alone."""
    cfg = language_model(stage)
    match cfg.family:
        case "llama":
            return Causal(phase)
        case "moonlight":
            from stages.engines.nemo.routed import Joint, Routed

            return (Joint if "vit" in stage.modules else Routed)(phase, chunks)
        case "ouro":
            from stages.engines.nemo.looped import Looped

            return Looped(phase)
        case _:
            assert_never(cfg)


def training(stage: Stage, phase: Phase, chunks: list[Any], reference: list[Any]) -> Work:
    """What a phase is trained by; `reference` are the chunks that are read next to the model, where any are."""
    return work(stage, phase, chunks) if phase.preference is None else preference(stage, phase, chunks, reference)


def preference(stage: Stage, phase: Phase, chunks: list[Any], reference: list[Any]) -> Work:
    """What a phase of preference training computes, from the chunks of a model and of its reference."""
    from stages.engines.nemo.preference import Preference, RoutedPreference

    if language_model(stage).ROUTED:
        return RoutedPreference(phase, chunks, reference=reference)
    return Preference(phase, reference=reference)
