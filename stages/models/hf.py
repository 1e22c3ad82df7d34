"""Model folders in Hugging Face layout: config.json and model.safetensors. Nothing is ever unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.contract.rope import inv_freq
from stages.errors import UserError
from stages.models import hf_files, hf_values, tensor_file
from stages.models.common import RMSNorm
from stages.models.hf_config import ModelConfig, render
from stages.models.hf_names import to_hf
from stages.models.rotary import Rotary
from stages.models.tensor_file import Stored
from stages.spec.resolved_models import Model, Rope
from stages.store import files

CONFIG = "config.json"
OTHER = "The weights belong to a model of another shape than the spec's."
FREQUENCIES = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROUNDED = 0.01  # relative: some were rounded to bf16, which keeps 8 bits


def save(
    module: nn.Module, cfg: Model, rope: Rope | None, max_context: int | None, folder: Path, loops: int | None = None
) -> None:
    """Write the module as a folder that transformers' from_pretrained reads: the same bytes for the same weights.

    `rope` and `max_context` (tokens) are for language models and None for others; `loops` is Ouro's T, written as
    total_ut_steps. Each file appears whole or not at all, the config last.
    """
    config = json.dumps(render(ModelConfig(cfg, rope, max_context, loops)), indent=2, sort_keys=True, allow_nan=False)
    files.make_dirs(folder)
    weights = tensor_file.blocks(to_hf(module.state_dict()), metadata={"format": "pt"})
    files.write_atomic(folder / hf_files.WEIGHTS, weights)
    files.write_atomic(folder / CONFIG, (config + "\n").encode())


@torch.no_grad()
def load(module: nn.Module, folder: Path, paths: Sequence[Path] | None = None) -> None:
    """Fill the module from a folder's safetensors (one file or several shards), converted to the module's dtype.

    `paths` are the files to read, where a manifest lists them; without, the folder is a release from elsewhere, and is
    read as its own index says. Every tensor of the module must be there, with its shape and the declared type, finite,
    and no other, but what a release stores twice (`left_out`): UserError names what is missing, unexpected, misshapen
    or unreadable, and leaves the module as it was.
    """
    places = to_hf(module.state_dict())  # views of the module's own tensors, where they are stacked
    wanted = {name: tensor.shape for name, tensor in places.items()}
    where = hf_files.tensors(hf_files.listed(folder) if paths is None else paths)
    if paths is None:
        spare = left_out(folder, where, set(wanted), getattr(module, "rotary", None))
        where = {name: path for name, path in where.items() if name not in spare}
    hf_values.refuse_names(folder, "missing", sorted(set(wanted) - set(where)), OTHER)
    hf_values.refuse_names(folder, "unexpected", sorted(set(where) - set(wanted)), OTHER)
    found = Stored(where)
    shapes = {name: found.shape(name) for name in found}
    wrong = [
        f"{name} {list(shape)} instead of {list(wanted[name])}"
        for name, shape in sorted(shapes.items())
        if shape != wanted[name]
    ]
    hf_values.refuse_names(folder, "of another shape", wrong, OTHER)
    offset = any(isinstance(part, RMSNorm) and part.offset for part in module.modules())
    hf_values.refuse(folder, found, paths is None, offset)
    for name, tensor in found.items():
        places[name].copy_(tensor)


def left_out(folder: Path, where: Mapping[str, Path], wanted: Set[str], rotary: object) -> set[str]:
    """Names of tensors of a release that its model does not need, beyond those that are `wanted`.

    Old versions of transformers wrote the rotary frequencies of every layer, and some tools write the head of a tied
    model next to its embeddings. transformers reads neither. Here they are compared with what the model has instead,
    and left out. `rotary` has the module's positions.

    Raises UserError for one that says something else than the model.
    """
    stored, found = Stored(where), set[str]()
    if isinstance(rotary, Rotary):
        plain = rotary.rope.model_copy(update={"llama3": None, "yarn": None, "interpolation": 1.0})
        known = (rotary.inv_freq, torch.tensor(inv_freq(plain, rotary.dim)))  # some scaled them after they were read
        found = {name for name in where if FREQUENCIES.fullmatch(name)}
        wrong = [name for name in sorted(found) if not any(_close(stored[name], one) for one in known)]
        hf_values.refuse_names(folder, "with other rotary frequencies than the stage's `rope`", wrong)
    if HEAD not in wanted and EMBEDDINGS in wanted and {HEAD, EMBEDDINGS} <= where.keys():
        if not torch.equal(stored[HEAD], stored[EMBEDDINGS]):
            raise UserError(
                f"{folder}: {HEAD}: found other numbers than in {EMBEDDINGS}; allowed: the same, since config.json "
                "ties the two (tie_word_embeddings). Correct config.json and the spec, or download the folder again."
            )
        found.add(HEAD)
    return found


def _close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), rtol=ROUNDED, atol=0.0)
