"""What the tensors of a model folder must be before they are believed: of the declared type, finite, and not blank."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, TypeAdapter
from torch import Tensor

from stages.errors import UserError
from stages.store import json_file

FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
SHOWN = 8  # tensor names in an error message


class _Declared(BaseModel):
    """The fields of config.json in which transformers 5 and those before it declare the type."""

    dtype: str | None = None
    torch_dtype: str | None = None


_DECLARED = TypeAdapter(_Declared)


def refuse(folder: Path, tensors: Mapping[str, Tensor], released: bool) -> None:
    """Raise UserError for tensors that are not of the declared type, or not finite; if released, for blank ones too.

    A vector may be float32 where a shorter type is declared: some releases keep gains and biases so. A matrix of
    zeros computes nothing: such a file was never filled. Each tensor is read once and let go.
    """
    allowed, infinite, blank = declared(folder), list[str](), list[str]()
    for name, tensor in tensors.items():
        exact = allowed is None or tensor.dtype == allowed or (tensor.dtype == torch.float32 and tensor.ndim < 2)
        if tensor.dtype not in FLOATS.values() or not exact:
            wanted = "a floating type" if allowed is None else f"{_name(allowed)}, as config.json declares"
            raise UserError(
                f"{folder}: {name} is {_name(tensor.dtype)}; allowed: {wanted}. Take the folder anew, or mend `dtype` "
                "in its config.json if that is what is wrong."
            )
        if not bool(tensor.isfinite().all()):
            infinite.append(name)
        elif released and tensor.ndim > 1 and not bool(tensor.any()):
            blank.append(name)
    refuse_names(folder, "not finite", infinite)
    refuse_names(folder, "all zeros", blank)


def declared(folder: Path) -> torch.dtype | None:
    """The type that config.json declares, if it does. Raises UserError for one that is not known."""
    try:
        found = json_file.read_as(folder / "config.json", _DECLARED)
    except json_file.MissingFileError:
        return None
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Take the folder's config.json anew.") from None
    name = found.dtype or found.torch_dtype
    if name is None or name == "auto":
        return None
    if name not in FLOATS:
        raise UserError(f"{folder / 'config.json'}: dtype: found {name!r}; allowed: {', '.join(FLOATS)}.")
    return FLOATS[name]


def refuse_names(folder: Path, what: str, names: list[str], why: str = "Take the folder anew.") -> None:
    """Raise UserError naming the first few of these tensors, if there are any."""
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise UserError(f"{folder}: tensors {what}: {', '.join(names[:SHOWN])}{more}. {why}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
