"""The rules of each model that this engine trains: Megatron's names and ours."""

from __future__ import annotations

from stages.engines.nemo import names_llama, names_moonlight
from stages.engines.nemo.layout import Rules
from stages.errors import UserError
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import MoonViTModel, ProjectorModel


def rules(stage: Stage) -> Rules:
    """The rules of the stage's model. Raises UserError for a model that this engine does not have."""
    match sorted(stage.modules.items()):
        case [(name, LlamaModel() as cfg)]:
            return Rules(names_llama.rules(cfg, name))
        case [(name, OuroModel() as cfg)]:
            return Rules(names_llama.ouro(cfg, name))
        case [(name, MoonlightModel() as cfg)]:
            return Rules(names_moonlight.rules(cfg, name))
        case [
            ("llm", MoonlightModel() as llm),
            ("projector", ProjectorModel() as projector),
            ("vit", MoonViTModel() as vit),
        ]:
            return Rules(names_moonlight.kimi_vl(llm, vit, projector))
    families = sorted(cfg.family for cfg in stage.modules.values())
    raise UserError(
        f"{stage.ref}: the nemo engine has no model of {' with '.join(families)}. "
        "Train this stage with `engine: torch`."
    )
