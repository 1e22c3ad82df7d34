"""What the tensors of a model folder must be before they are believed: of the declared type, finite, and not blank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, TypeAdapter
from torch import Tensor

from stages.errors import UserError
from stages.printable import first_few
from stages.store import json_file

FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
FILLED = 0.75  # of a matrix's rows: rows of words that were never read may be zero, of padding too, but not a quarter
SHOWN = 8  # tensor names in an error message


class _Declared(BaseModel):
    """The fields of config.json in which transformers 5 and those before it declare the type."""

    dtype: str | None = None
    torch_dtype: str | None = None


_DECLARED = TypeAdapter(_Declared)


def refuse(folder: Path, tensors: Mapping[str, Tensor], released: bool, offset: bool = False) -> None:
    """Raise UserError for tensors that are not of the declared type, or not finite; if released, for blank ones too.

    A vector may be float32 where a shorter type is declared: some releases keep gains and biases so. A matrix of
    zeros computes nothing, and neither does a norm whose gain is zero, unless gains are an `offset` from 1: such a file
    was never filled. One that is filled in part has zeros from some row on. Each tensor is read once and let go.
    """
    allowed, infinite, blank, partial = declared(folder), list[str](), list[str](), list[str]()
    for name, tensor in tensors.items():
        exact = allowed is None or tensor.dtype == allowed or (tensor.dtype == torch.float32 and tensor.ndim < 2)
        if tensor.dtype not in FLOATS.values() or not exact:
            wanted = "a floating type" if allowed is None else f"{_name(allowed)}, as config.json declares"
            raise UserError(
                f"{folder}: {name} is {_name(tensor.dtype)}; allowed: {wanted}. Download the folder again, or correct "
                "`dtype` in its config.json if that is what is wrong."
            )
        if not bool(tensor.isfinite().all()):
            infinite.append(name)
        elif released and (tensor.ndim > 1 or (tensor.ndim == 1 and is_gain(name) and not offset)):
            filled = tensor.reshape(len(tensor), -1).any(1).double().mean()
            if not filled:
                blank.append(name)
            elif tensor.ndim > 1 and filled <= FILLED:
                partial.append(name)
    refuse_names(folder, "not finite", infinite)
    refuse_names(folder, "all zeros", blank)
    refuse_names(folder, "with zeros in a quarter of their rows or more", partial)


def is_gain(name: str) -> bool:
    """Whether a tensor of a release is the gain of a norm, by the names that transformers gives to norms."""
    module, _, kind = name.rpartition(".")
    return kind == "weight" and "norm" in module.rpartition(".")[2]


def declared(folder: Path) -> torch.dtype | None:
    """The type that config.json declares, if it does. Raises UserError for one that is not known."""
    try:
        found = json_file.read_as(folder / "config.json", _DECLARED)
    except json_file.MissingFileError:
        return None
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Download the folder's config.json again.") from None
    name = found.dtype or found.torch_dtype
    if name is None or name == "auto":
        return None
    if name not in FLOATS:
        raise UserError(f"{folder / 'config.json'}: dtype: found {name!r}; allowed: {', '.join(FLOATS)}.")
    return FLOATS[name]


def refuse_names(folder: Path, what: str, names: list[str], why: str = "Download the folder again.") -> None:
    """Raise UserError naming the first few of these tensors, if there are any."""
    if names:
        raise UserError(f"{folder}: tensors {what}: {first_few(names, SHOWN)}. {why}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
