"""The rules of each model that this engine trains: Megatron's names and ours."""

from __future__ import annotations

from stages.engines.nemo import names_kimi_vl, names_llama, names_moonlight, names_ouro
from stages.engines.nemo.layout import Rules
from stages.errors import UserError
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import MoonViTModel, ProjectorModel


def rules(stage: Stage) -> Rules:
    """The rules of the stage's model. Raises UserError for a model that this engine does not have."""
    families = sorted(cfg.family for cfg in stage.modules.values())
    for name, cfg in stage.modules.items():
        if families == ["llama"] and isinstance(cfg, LlamaModel):
            return Rules(names_llama.rules(cfg, name))
        if families == ["moonlight"] and isinstance(cfg, MoonlightModel):
            return Rules(names_moonlight.rules(cfg, name))
        if families == ["ouro"] and isinstance(cfg, OuroModel):
            return Rules(names_ouro.rules(cfg, name))
    llm, vit, projector = (stage.modules.get(name) for name in ("llm", "vit", "projector"))
    if isinstance(llm, MoonlightModel) and isinstance(vit, MoonViTModel) and isinstance(projector, ProjectorModel):
        return Rules(names_kimi_vl.rules(llm, vit, projector))
    raise UserError(
        f"{stage.ref}: the nemo engine has no model of {' with '.join(families)}. "
        "Train this stage with `engine: torch`."
    )
