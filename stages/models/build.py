"""From a resolved stage to its modules, freshly initialised.

Every parameter is drawn from a generator of its own, seeded from (seed, module, parameter name): adding, removing or
renaming one parameter leaves all others as they were, and the order of construction does not matter.
"""

from __future__ import annotations

import warnings
from typing import assert_never

import torch
from blake3 import blake3
from torch import Tensor, nn

from stages.models.decoder import language_model
from stages.models.layers import recompute
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model, Rope


def build(stage: Stage, device: str = "cpu") -> nn.ModuleDict:
    """The stage's modules by name, fp32, on the device ("meta" makes shapes without memory).

    Their layers keep activations or recompute them, as the stage's execution says.
    """
    modules = nn.ModuleDict()
    for name, cfg in stage.modules.items():
        module = make(cfg, stage.rope, device)
        if device != "meta":
            initialise(module, name, cfg, stage.seed)
        modules[name] = module
    recompute(modules, stage.execution.recomputes)
    return modules


def make(cfg: Model, rope: Rope | None, device: str) -> nn.Module:
    """One module with undefined weights. Language models need a rope; ValueError without one."""
    # Layers of torch draw their own first weights; this keeps the caller's random state out of it. They warn of shared
    # experts of no width, which have nothing to draw.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.device(device):
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return _construct(cfg, rope)


def _construct(cfg: Model, rope: Rope | None) -> nn.Module:
    if isinstance(cfg, LanguageModel):
        if rope is None:
            raise ValueError(f"a {cfg.family} model needs the stage's rope")
        return language_model(cfg, rope)
    match cfg.family:
        case "moonvit":
            from stages.models.moonvit import MoonViT

            return MoonViT(cfg)
        case "text_tower":
            from stages.models.siglip import TextTower

            return TextTower(cfg)
        case "caption_decoder":
            from stages.models.coca import CaptionDecoder

            return CaptionDecoder(cfg)
        case "contrastive":
            from stages.models.siglip import Contrastive

            return Contrastive(cfg)
        case "projector":
            from stages.models.projector import Projector

            return Projector(cfg)
        case _:
            assert_never(cfg)


@torch.no_grad()
def initialise(module: nn.Module, name: str, cfg: Model, seed: int) -> None:
    """Weights normal(0, init_std), gains 1, biases 0, in place; what the spec declares otherwise as it says."""
    for parameter_name, parameter in module.named_parameters():
        parameter.copy_(first_value(name, cfg, seed, parameter_name, parameter.shape))


def first_value(name: str, cfg: Model, seed: int, parameter: str, shape: torch.Size) -> Tensor:
    """What `initialise` gives one parameter of the module `name`: fp32, on the host."""
    stated = next((value for ending, value in _declared(cfg).items() if parameter.endswith(ending)), None)
    if stated is not None:
        return torch.full(shape, stated, device="cpu")
    if parameter.endswith("bias"):
        return torch.zeros(shape, device="cpu")
    if len(shape) == 1:
        return torch.ones(shape, device="cpu")
    return normal(seed, f"{name}|{parameter}", shape, cfg.init_std)


def _declared(cfg: Model) -> dict[str, float]:
    """First values that a spec or a family states, by the end of the parameter's name."""
    if isinstance(cfg, LanguageModel):
        return cfg.first_values()
    match cfg.family:
        case "contrastive":
            return {"logit_scale": cfg.init_log_temperature, "logit_bias": cfg.init_bias}
        case "moonvit" | "text_tower" | "caption_decoder" | "projector":
            return {}
        case _:
            assert_never(cfg)


def normal(seed: int, name: str, shape: torch.Size, std: float) -> Tensor:
    """Normal(0, std) fp32 numbers that depend on nothing but the arguments."""
    digest = blake3(f"{seed}|{name}".encode()).digest(length=8)
    generator = torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.empty(shape, device="cpu").normal_(0.0, std, generator=generator)
