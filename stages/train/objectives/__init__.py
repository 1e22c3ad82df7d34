"""Objectives: what a phase minimises. `make` is the only place that chooses one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

import torch
from torch import nn

from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.train.objectives.base import Objective
from stages.train.objectives.causal import Causal, replay_columns, z_columns
from stages.train.objectives.coca import Coca
from stages.train.objectives.looped import Looped
from stages.train.objectives.preference import Preference, RoutedPreference, columns
from stages.train.objectives.routed import Routed
from stages.train.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from stages.guards.phase_log import Rows


def make(
    stage: Stage,
    phase: Phase,
    modules: nn.ModuleDict,
    data: Rows,
    device: torch.device,
    ranks: Ranks = ALONE,
    frozen: nn.ModuleDict | None = None,
) -> Objective:
    """The phase's objective on these modules and data, for this rank's share of every step.

    `frozen` are the models besides those that are trained, where the objective reads any (`Stage.read_frozen`).
    """
    match phase.objective:
        case "coca":
            return Coca(stage, phase, modules, data.pairs, device, ranks)
        case "next_token" | "looped" | "align" | "joint" | "sft":
            return _language(stage)(stage, phase, modules, data.samples, device, ranks)
        case "preference":
            kind = RoutedPreference if issubclass(_language(stage), Routed) else Preference
            return kind(stage, phase, modules, data.samples, device, ranks, frozen=frozen)
        case _:
            assert_never(phase.objective)


def extras(stage: Stage) -> tuple[str, ...]:
    """Metric columns of all the stage's phases beyond the common ones, each once, in order of first appearance."""
    found: dict[str, None] = {}
    for phase in stage.phases:
        found |= dict.fromkeys(_extras(stage, phase))
    return tuple(found)


def _language(stage: Stage) -> type[Causal]:
    """A looped model always runs looped, whatever the data is; a trained model with experts is balanced."""
    name, cfg = next((name, cfg) for name, cfg in stage.modules.items() if isinstance(cfg, LanguageModel))
    if cfg.LOOPED:
        return Looped
    return Routed if cfg.ROUTED and name in stage.trained else Causal


def _extras(stage: Stage, phase: Phase) -> Sequence[str]:
    if phase.objective == "coca":
        return Coca.extras
    kind = _language(stage)
    own = Looped.columns(phase) if issubclass(kind, Looped) else kind.own
    paired = columns(phase.preference) if phase.preference is not None else ()
    return (*own, *z_columns(phase), *replay_columns(phase), *paired)
