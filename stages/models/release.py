"""A released model comes in: its folder checked against the spec, then its weights into a module."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from stages.errors import UserError
from stages.models import hf, hf_files, hf_values, release_files, release_siglip
from stages.models.tensor_file import Stored
from stages.spec.resolved import Init
from stages.spec.resolved_models import LANGUAGE_MODELS, Model


def check_digest(init: Init, folder: Path, where: str) -> None:
    """Raise UserError unless the folder is the one that specs/releases declares. Every file that counts is read."""
    if init.digest is None:
        return
    found = release_files.digest(folder)
    if found != init.digest:
        raise UserError(
            f"{where}: {folder} has {found}; allowed: {init.digest}, as specs/releases/{init.release}.yaml declares. "
            f"It is another folder, or was changed. Give the one that was accepted, or run `stages release "
            f"{init.release} {folder} --accept` and put its lines into the spec: what starts from it is run again."
        )


def load(module: nn.Module, model: Model, folder: Path) -> None:
    """Fill a module from the weights of a release. Raises UserError as `hf.load`, and leaves the module as it was."""
    if model.family in LANGUAGE_MODELS:
        hf.load(module, folder)
    else:
        _load_siglip(module, model, folder)


@torch.no_grad()
def _load_siglip(module: nn.Module, model: Model, folder: Path) -> None:
    """A part of a SigLIP folder: every tensor of that part is used, and no other."""
    ours = module.state_dict()
    taken = release_siglip.taken(model, ours)
    where = hf_files.tensors(hf_files.listed(folder))
    wanted = {name for one in taken.values() for name in one.names}
    of_part = {name for name in where if release_siglip.is_of(model, name)}
    hf_values.refuse_names(folder, "missing", sorted(wanted - set(where)), hf.OTHER)
    hf_values.refuse_names(folder, "unexpected", sorted(of_part - wanted), hf.OTHER)
    stored = Stored({name: where[name] for name in wanted})
    hf_values.refuse(folder, stored, released=True)
    made = {}
    for name, one in taken.items():
        try:
            made[name] = one.make([stored[source] for source in one.names])
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{folder}: {', '.join(one.names)}: {error}. {hf.OTHER}") from None
    wrong = [
        f"{', '.join(taken[name].names)} {list(value.shape)} instead of {list(ours[name].shape)}"
        for name, value in sorted(made.items())
        if value.shape != ours[name].shape
    ]
    hf_values.refuse_names(folder, "of another shape", wrong, hf.OTHER)
    for name, value in made.items():
        ours[name].copy_(value)
