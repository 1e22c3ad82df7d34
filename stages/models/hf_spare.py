"""Tensors that a release has and its model does not need: stored twice, or computed from the configuration.

Old versions of transformers wrote the rotary frequencies of every layer, and some tools write the head of a tied model
next to its embeddings. transformers reads neither. Here they are compared with what the model has instead, and left
out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path

import torch
from torch import Tensor

from stages.contract.rope import inv_freq
from stages.errors import UserError
from stages.models import hf_values
from stages.models.rotary import Rotary
from stages.models.tensor_file import Stored

FREQUENCIES = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
ROUNDED = 0.01  # relative: some were rounded to bf16, which keeps 8 bits


def left_out(folder: Path, where: Mapping[str, Path], wanted: Set[str], rotary: object) -> set[str]:
    """Names of such tensors of a release, beyond those that are `wanted`; `rotary` has the module's positions.

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
                "ties the two (tie_word_embeddings). Correct config.json and the spec, or take the folder anew."
            )
        found.add(HEAD)
    return found


def _close(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), rtol=ROUNDED, atol=0.0)
