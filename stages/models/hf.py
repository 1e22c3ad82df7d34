"""Model folders in Hugging Face layout: config.json and model.safetensors. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from stages.errors import UserError
from stages.models.hf_config import ModelConfig, read, render
from stages.models.hf_names import from_hf, to_hf
from stages.spec.resolved_models import Model, Rope
from stages.store import files

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SHOWN = 8  # tensor names in an error message


def save(
    module: nn.Module, cfg: Model, rope: Rope | None, max_context: int | None, folder: Path, loops: int | None = None
) -> None:
    """Write the module as a folder that transformers' from_pretrained reads: the same bytes for the same weights.

    `rope` and `max_context` (tokens) are for language models and None for others; `loops` is Ouro's T, written as
    total_ut_steps. Each file appears whole or not at all, the config last.
    """
    config = json.dumps(render(ModelConfig(cfg, rope, max_context, loops)), indent=2, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in to_hf(module.state_dict()).items()}
    files.make_dirs(folder)
    files.write_atomic(folder / WEIGHTS, to_bytes(tensors, metadata={"format": "pt"}))
    files.write_atomic(folder / CONFIG, (config + "\n").encode())


def load_config(folder: Path) -> ModelConfig:
    """Model, rope, longest context and loops of a folder; UserError as in `hf_config.read`."""
    return read(folder)


@torch.no_grad()
def load(module: nn.Module, folder: Path) -> None:
    """Fill the module from a folder's safetensors (one file or several shards), converted to the module's dtype.

    Every tensor of the module must be there, with its shape, and no other: UserError names what is missing,
    unexpected, misshapen or unreadable, and leaves the module as it was.
    """
    state = module.state_dict()
    wanted = {name: tensor.shape for name, tensor in to_hf(state).items()}
    where = _index(folder)
    _refuse(folder, "missing", sorted(set(wanted) - set(where)))
    _refuse(folder, "unexpected", sorted(set(where) - set(wanted)))
    found: dict[str, torch.Tensor] = {}
    for path in sorted(set(where.values())):
        with safe_open(path, framework="pt", device="cpu") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no mapping)
    wrong = [
        f"{name} {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in sorted(wanted.items())
        if found[name].shape != shape
    ]
    _refuse(folder, "of another shape", wrong)
    for name, tensor in from_hf(found, state).items():
        state[name].copy_(tensor)


def _index(folder: Path) -> dict[str, Path]:
    """Which file of the folder holds each tensor."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise UserError(
            f"{folder}: no *.safetensors file. Weights are read from safetensors only; convert pickled ones "
            "(pytorch_model.bin) with the tool of whoever released them."
        )
    where: dict[str, Path] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                where.update(dict.fromkeys(file.keys(), path))
        except SafetensorError as error:
            raise UserError(f"{path}: damaged or not a safetensors file ({error}). Take or build it anew.") from error
    return where


def _refuse(folder: Path, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UserError(
            f"{folder}: tensors {what}: {', '.join(names[:SHOWN])}{more}. "
            "The weights belong to a model of another shape than the spec's."
        )
