"""Parts of tensors under our names, from wherever a rank's first weights come from: no more is read than what is asked.

A node's memory has no whole model for each of its ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.models import extend, hf_files, release_siglip
from stages.models.build import first_value
from stages.models.hf_names import hf_names
from stages.models.tensor_file import Stored
from stages.spec.resolved_models import LANGUAGE_MODELS, Model

Shapes = Mapping[str, Tensor]
"""Our names -> tensors on "meta": "<module>.<parameter>", and for moments "<module>.<parameter>.<moment>"."""

Place = tuple[slice, ...]
"""Where a part lies in the whole tensor: a start and a stop for each dimension."""

Read = Callable[[str, Place], Tensor]
"""A part of one of our tensors by its name."""

COLUMNS = 256  # of a table of words that are averaged at a time: 128,256 rows of them are 0.3 GB in fp64


def from_file(stored: Stored, shapes: Shapes) -> Read:
    """From a module's own file, which has no module in its names, and experts one by one."""

    def read(target: str, place: Place) -> Tensor:
        names = hf_names(target.partition(".")[2], shapes[target])
        if len(names) == 1:
            return stored.part(names[0], place)
        return torch.stack([stored.part(name, place[1:]) for name in names[place[0]]])

    return read


def from_release(name: str, model: Model, folder: Path, shapes: Shapes) -> Read:
    """From a released model's folder: a language model's tensors, or SigLIP's, with which a vision tower begins."""
    stored = Stored(hf_files.tensors(hf_files.listed(folder)))
    if model.family in LANGUAGE_MODELS:
        return from_file(stored, shapes)
    taken = release_siglip.taken(model, {key.partition(".")[2]: one for key, one in shapes.items() if _of(key, name)})

    def read(target: str, place: Place) -> Tensor:
        one = taken[target.partition(".")[2]]
        return one.make([stored[source] for source in one.names])[place]

    return read


def drawn(name: str, model: Model, seed: int, shapes: Shapes) -> Read:
    """Of a module's first weights, each tensor drawn by itself. Buffers begin at 0."""

    def read(target: str, place: Place) -> Tensor:
        like = shapes[target]
        if not isinstance(like, nn.Parameter):
            return torch.zeros(like.shape, device="cpu")[place]
        return first_value(name, model, seed, target.partition(".")[2], like.shape)[place]

    return read


def grown(parent: Read, rows: int, new: Read) -> Read:
    """Tables of words with the parent's first `rows` rows and `new` ones behind (`stages.models.extend`)."""

    def read(target: str, place: Place) -> Tensor:
        if not extend.is_table(target):
            return parent(target, place)
        first, rest = place[0], place[1:]
        middle = min(max(rows, first.start), first.stop)
        old = parent(target, (slice(first.start, middle), *rest))
        return torch.cat([old, new(target, (slice(middle, first.stop), *rest))]) if middle < first.stop else old

    return read


def mean(stored: Stored, rows: int) -> Read:
    """Rows that are each the mean of a table's first `rows` rows."""

    def read(target: str, place: Place) -> Tensor:
        name, columns = target.partition(".")[2], range(place[1].start, place[1].stop, COLUMNS)
        some = [stored.part(name, (slice(0, rows), slice(at, min(at + COLUMNS, columns.stop)))) for at in columns]
        return torch.cat([extend.mean(one) for one in some]).expand(place[0].stop - place[0].start, -1)

    return read


def zeros(target: str, place: Place) -> Tensor:
    """Moments of what no step has moved."""
    return torch.zeros([one.stop - one.start for one in place], device="cpu")


def _of(key: str, module: str) -> bool:
    return key.partition(".")[0] == module
