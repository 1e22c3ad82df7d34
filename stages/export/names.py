"""Published layouts: how a stage's modules become one model of a class that transformers and servers know.

Names and shapes are those of the releases and of the servers' loaders: transformers' own classes; ByteDance's
Ouro-1.4B and vLLM's ouro.py; MoonshotAI's Kimi-VL-A3B and vLLM's kimi_vl.py, moonvit.py. A tensor's numbers keep their
order: only its name, and for the patch embedding its shape, differ from the result's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.errors import UserError
from stages.export.result import Result, families
from stages.spec.resolved_models import LANGUAGE_MODELS, Model, MoonViTModel

Shape = tuple[int, ...]
CODE = Path(__file__).parent / "hf_code"
SHARED = "stages_blocks.py"
OURO = ("configuration_ouro.py", "modeling_ouro.py", SHARED)
KIMI_VL = (
    "configuration_kimi_vl.py", "modeling_kimi_vl.py", "kimi_vl_language.py", "kimi_vl_vision.py",
    "image_processing_kimi_vl.py", "processing_kimi_vl.py", SHARED,
)  # fmt: skip
PREFIXES = {"moonlight": "language_model.", "moonvit": "vision_tower.", "projector": "multi_modal_projector."}
PATCHES = "patch_embed.proj.weight"


@dataclass(frozen=True)
class Published:
    """The layout that an export is written in.

    `modules` are the stage's by name. Where transformers has no class of its own, `auto_map` names ours, and `code` the
    files that it is in.
    """

    modules: Mapping[str, Model]
    task: str = "text-generation"  # what the hub calls a pipeline_tag
    auto_map: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    prefixes: Mapping[str, str] = field(default_factory=dict)  # by family

    def tensor(self, module: str, name: str, shape: Shape) -> tuple[str, Shape]:
        """The published name and shape of a module's tensor; the order of its numbers is the same."""
        cfg = self.modules[module]
        if isinstance(cfg, MoonViTModel) and name == PATCHES:
            shape = (cfg.hidden, cfg.channels, cfg.patch, cfg.patch)  # a convolution, as it is published
        return f"{self.prefixes.get(cfg.family, '')}{name}", shape

    def files(self) -> dict[str, bytes]:
        """The modelling code, by file name."""
        return {name: (CODE / name).read_bytes() for name in self.code}


def published(result: Result) -> Published:
    """The layout for a result. Raises UserError where there is none for its modules."""
    return of_modules(result.stage.modules, result.ref)


def of_modules(modules: Mapping[str, Model], ref: str) -> Published:
    """The layout for these modules of the stage `ref`. Raises UserError where there is none."""
    found = sorted(cfg.family for cfg in modules.values())
    if found == sorted(PREFIXES):
        made = _auto_map("configuration_kimi_vl.KimiVLConfig", "modeling_kimi_vl.KimiVLForConditionalGeneration")
        return Published(modules, "image-text-to-text", made, KIMI_VL, PREFIXES)
    if len(found) != 1 or found[0] not in LANGUAGE_MODELS:
        raise UserError(
            f"{ref}: found the modules {families(modules)}; allowed: a language model alone, or a moonlight with a "
            "moonvit and a projector."
        )
    if found == ["ouro"]:
        made = _auto_map("configuration_ouro.OuroConfig", "modeling_ouro.OuroForCausalLM")
        return Published(modules, auto_map=made, code=OURO)
    return Published(modules)


def _auto_map(config: str, model: str) -> dict[str, str]:
    return {"AutoConfig": config, "AutoModel": model, "AutoModelForCausalLM": model}
