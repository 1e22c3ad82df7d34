"""What Megatron's built objects say of themselves, for the guards before step 1: not what they were configured to be.

Megatron fills in, corrects and overrides between a configuration and a model: recipes, bridges from Hugging Face,
`finalize`, `validate`, loaded checkpoints. So each field is read from the object that computes with it, rotary
frequencies from the module that turns, rates and decay from the groups of the optimizer, on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isclose
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.transformer.mlp import MLP
from torch import nn

from stages.engines.nemo.attention import DocumentAttention
from stages.engines.nemo.config import Config
from stages.engines.nemo.container import value
from stages.engines.nemo.local import Owned
from stages.engines.nemo.norm import Norm
from stages.engines.nemo.optimizer import Mover
from stages.engines.nemo.rotary import rotaries
from stages.engines.nemo.router import Router
from stages.errors import UserError
from stages.guards.report import BuiltReport, Digests
from stages.printable import first_few
from stages.spec.families.moonlight import LATENT_NORM_EPS
from stages.spec.resolved import Stage
from stages.train.ranks import Ranks

Field = tuple[str, Any, Any]
"""Name, found, configured."""

SHOWN = 3
ABSENT = "absent"


class BuiltOtherwiseError(UserError):
    """Megatron's objects are not what the stage's configuration says; nothing was trained."""

    repeats = True


def check_fields(
    stage: Stage, stated: Config, chunks: Sequence[nn.Module], models: Sequence[nn.Module], moved: Mover, ranks: Ranks
) -> None:
    """Raise BuiltOtherwiseError on all ranks where an object of one of them has another value than configured.

    `chunks` are of the model that is trained, `models` those and what is read next to it.
    """
    chain = getattr(moved.core, "chained_optimizers", [moved.core])
    fields = [
        *_configurations(stated, chunks, models, chain),
        *_layers(stated, models),
        *_groups(stated, chain),
        *_mains(stage, moved.owned),
    ]
    own = [f"{name} is {found!r}, configured {wanted!r}" for name, found, wanted in fields if found != wanted]
    differences = sorted({one for theirs in ranks.values(own) for one in theirs})
    if differences:
        raise BuiltOtherwiseError(
            f"{stage.ref}: Megatron built something else than was configured: "
            f"{first_few(differences, SHOWN, '; ')}. Run with the versions that `make nemo` installs, without plugins."
        )


def _configurations(
    stated: Config, chunks: Sequence[nn.Module], models: Sequence[nn.Module], chain: Sequence[Any]
) -> Iterator[Field]:
    objects: dict[str, list[Any]] = {
        "model": [getattr(chunk, "config") for chunk in models],  # noqa: B009
        "ddp": [getattr(chunk, "ddp_config") for chunk in chunks],  # noqa: B009
        "optimizer": [one.config for one in chain],
    }
    for section, built in objects.items():
        for name, plain in (stated[section] or {}).items():
            if section == "optimizer" and name == "optimizer":
                continue  # the registry's name of ours, where it is Muon
            for one in built:
                yield f"{section}.{name}", getattr(one, name, ABSENT), value(name, plain)


def _layers(stated: Config, models: Sequence[nn.Module]) -> Iterator[Field]:
    """What parts of layers compute with: each has been handed its own numbers."""
    cfg = stated["model"] or {}
    for name, module in (pair for model in models for pair in model.named_modules()):
        if isinstance(module, Norm):
            latent = name.endswith("kv_layernorm")
            yield f"{name}.eps", module.eps, LATENT_NORM_EPS if latent else cfg["layernorm_epsilon"]
        elif isinstance(module, Router):
            yield f"{name}.active", module.active, cfg["moe_router_topk"]
            yield f"{name}.scale", module.scale, cfg["moe_router_topk_scaling_factor"]
        elif isinstance(module, DocumentAttention):
            usual = cfg["kv_channels"] ** -0.5
            yield f"{name}.scale", usual if isclose(module.scale, usual, rel_tol=1e-6) else module.scale, usual
        elif isinstance(module, MLP):
            yield f"{name}.activation_func", module.activation_func, value("activation_func", cfg["activation_func"])
        elif isinstance(module, GPTModel):
            field = "share_embeddings_and_output_weights"
            yield field, module.share_embeddings_and_output_weights, cfg[field]
        elif "decoder." in name and type(module).__name__.endswith("Norm"):
            yield f"{name}: kind of norm", type(module).__name__, Norm.__name__


def _groups(stated: Config, chain: Sequence[Any]) -> Iterator[Field]:
    """What torch's optimizers go by: of these, AdamW by torch, by Apex and by others has some each."""
    cfg = stated["optimizer"] or {}
    fields = {
        "betas": (cfg["adam_beta1"], cfg["adam_beta2"]), "eps": cfg["adam_eps"], "amsgrad": False, "maximize": False,
        "bias_correction": True, "decoupled_weight_decay": True,
    }  # fmt: skip
    for group in (group for one in chain if one.optimizer is not None for group in one.optimizer.param_groups):
        for name in fields.keys() & group.keys():
            yield f"a group's {name}", group[name], fields[name]


def _mains(stage: Stage, parameters: Sequence[Owned]) -> Iterator[Field]:
    """What is moved, and what its gradient is added up in, is fp32; it has not been moved yet where no optimizer's
    state is inherited.
    """
    for one in parameters:
        if one.trained:
            yield f"{one.placed.key}: type of its gradient's sum", str(one.gradients.dtype), str(torch.float32)
        if one.inner is not None:
            yield f"{one.placed.key}: type of what is moved", str(one.main.dtype), str(torch.float32)
            if one.counts and stage.init[one.placed.module].optimizer != "inherit":
                yield f"{one.placed.key}: updates made", one.step, 0


def completed(
    report: BuiltReport | None,
    parameters: Sequence[Owned],
    chunks: Sequence[nn.Module],
    ranks: Ranks,
    computed: Mapping[str, Digests],
) -> BuiltReport | None:
    """The first rank's report with what all ranks' objects say; the others have none, but all call this. `computed` are
    digests of the weights that a copy in other types than theirs has to have.
    """
    own = {
        "frequencies": [[number.hex() for number in one.inv_freq.tolist()] for one in rotaries(chunks)],
        "parameters": [
            [one.placed.module, one.placed.key, one.trained]
            for one in parameters
            if isinstance(one.tensor, nn.Parameter)
        ],
    }
    reports = ranks.values(own)
    if report is None:
        return None
    turned = _one_of([tuple(map(float.fromhex, row)) for one in reports for row in one["frequencies"]])
    takes: dict[str, dict[str, bool]] = {}
    for one in reports:
        for module, key, trained in one["parameters"]:
            takes.setdefault(module, {}).setdefault(key, trained)
    modules = {
        name: replace(
            module,
            frequencies=None if module.frequencies is None else turned,
            factors=(1.0, 1.0),  # the angles that Core's layers are given here have none
            takes_gradient=sum(takes.get(name, {}).values()),
            parameters=len(takes.get(name, {})),
            computed=computed.get(name),
        )
        for name, module in report.modules.items()
    }
    return replace(report, modules=modules)


def _one_of(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The frequencies of all ranks; where they are not the same, all of them, which no guard takes."""
    different = sorted(set(rows))
    return tuple(number for row in different for number in row)
