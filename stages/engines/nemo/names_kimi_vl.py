"""Kimi-VL: Moonlight's names, and the tower's and the projector's, which are the torch engine's own modules."""

from __future__ import annotations

from stages.engines.nemo import names_moonlight
from stages.engines.nemo.layout import Rule
from stages.models.build import make
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import MoonViTModel, ProjectorModel


def rules(llm: MoonlightModel, vit: MoonViTModel, projector: ProjectorModel) -> list[Rule]:
    """The rules of a stage with the modules llm, vit and projector."""
    return [
        *names_moonlight.rules(llm, "llm"),
        *(
            Rule(f"vision.{module}.{name}", (f"{module}.{name}",))
            for module, cfg in (("vit", vit), ("projector", projector))
            for name in make(cfg, None, "meta").state_dict()
        ),
    ]
