"""How often the layers of a looped model are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.engines import Inputs
from stages.errors import UserError
from stages.models import hf_config
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import Phase
from stages.store import json_file, manifest


def loops(stage: Stage, inputs: Inputs) -> int | None:
    """How often an Ouro model is to be looped: as last trained. Upcycling keeps layers times loops (24x8 = 48x4).

    A release says it in its config.json. Raises UserError where it does not.
    """
    for name, init in stage.init.items():
        cfg = stage.modules[name]
        if not isinstance(cfg, LanguageModel) or not cfg.LOOPED:
            continue
        if stage.phases:
            last = stage.phases[-1].loops
            return last.count if last else None
        above = init.parent if stage.merge is None else stage.merge[0].parent
        if above is not None:
            parent = hf_config.read(manifest.payload(inputs.layout, above) / "model" / name)
            if parent.loops is not None and isinstance(parent.model, LanguageModel) and parent.model.LOOPED:
                return parent.loops * parent.model.layers // cfg.layers
        if init.weights == "release" and (folder := inputs.releases.get(init.release or "")) is not None:
            return _released(folder)
    return None


def looped(phases: Sequence[Phase], count: int) -> tuple[Phase, ...]:
    """Phases of a looped model, with another number of loops."""
    return tuple(
        phase.model_copy(update={"loops": phase.loops and phase.loops.model_copy(update={"count": count})})
        for phase in phases
    )


def _released(folder: Path) -> int:
    path = folder / "config.json"
    found = json_file.read(path).get("total_ut_steps")
    if not isinstance(found, int) or found < 1:
        raise UserError(f"{path}: total_ut_steps: found {found!r}; allowed: how often the layers are run, as a number.")
    return found
