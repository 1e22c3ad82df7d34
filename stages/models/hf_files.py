"""Which files of a model folder contain its weights, and which tensor is in which: what is not listed is not read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, StringConstraints, TypeAdapter
from safetensors import SafetensorError, safe_open

from stages.errors import UserError
from stages.printable import printable
from stages.store import json_file

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")


class _Index(BaseModel):
    """The index that transformers writes next to several files: tensor -> file of the same folder."""

    weight_map: dict[str, Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f]+\.safetensors$")]]


_INDEX = TypeAdapter(_Index)


def listed(folder: Path) -> list[Path]:
    """The files of a released model: those of its index, or model.safetensors, or shards that count themselves.

    Prints the names of other *.safetensors files, which are not read. Raises UserError where the folder does not say
    which files are meant, and where their tensors are not exactly those that the index says.
    """
    there = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
    if (folder / INDEX).exists():
        return _indexed(folder, there)
    if not there:
        raise UserError(
            f"{folder}: no *.safetensors file. Weights are read from safetensors only; convert pickled ones "
            "(pytorch_model.bin) with the tool of whoever released them."
        )
    if WEIGHTS in there:  # what transformers reads, whatever else is there
        _name_strangers(folder, "beside it", [name for name in there if name != WEIGHTS])
        return [there[WEIGHTS]]
    if not _count_themselves(there):
        raise UserError(
            f"{folder}: found {', '.join(there)}, and no {INDEX} that says which of them are the model; allowed: "
            f"{WEIGHTS}, or an index. Download the folder again, or move away what does not belong there."
        )
    return list(there.values())


def tensors(paths: Iterable[Path]) -> dict[str, Path]:
    """Tensor -> the file that has it. Raises UserError for what is no safetensors file, and a tensor in two files."""
    where: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path}: not there, or not a regular file. Download or build it again.")
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                names = list(file.keys())
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: damaged or not a safetensors file ({error}). Download or build it again."
            ) from error
        for name in names:
            if name in where:
                raise UserError(f"{path}: {name} is also in {where[name].name}; allowed: each tensor in one file.")
            where[name] = path
    return where


def _indexed(folder: Path, there: dict[str, Path]) -> list[Path]:
    try:
        index = json_file.read_as(folder / INDEX, _INDEX).weight_map
    except json_file.JsonFileError as error:
        raise UserError(f"{error}. Download the folder again.") from None
    names = sorted(set(index.values()))
    if WEIGHTS in there and WEIGHTS not in names:
        raise UserError(
            f"{folder}: found {WEIGHTS} and {INDEX}, which does not name it: transformers would read the first, others "
            "the second. Move away the one that is not meant."
        )
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(f"{folder}: {INDEX} names {', '.join(missing)}, not there. Download the folder again.")
    where = tensors(there[name] for name in names)
    wrong = sorted(name for name in index.keys() | where if index.get(name) != getattr(where.get(name), "name", None))
    if wrong:
        found = where[wrong[0]].name if wrong[0] in where else "no file"
        raise UserError(
            f"{folder / INDEX}: says that {wrong[0]} is in {index.get(wrong[0], 'no file')}, found in {found} "
            f"({len(wrong)} tensors differ). Download the folder again."
        )
    _name_strangers(folder, f"not named by {INDEX}", [name for name in there if name not in names])
    return [there[name] for name in names]


def _name_strangers(folder: Path, why: str, names: list[str]) -> None:
    if names:
        print(printable(f"{folder}: {why} and not read: {', '.join(names)}"))


def _count_themselves(there: dict[str, Path]) -> bool:
    """Whether the files are model-00001-of-0000N to model-0000N-of-0000N, all of them and nothing else."""
    numbers = [SHARD.fullmatch(name) for name in there]
    count = len(numbers)
    return {(int(found[1]), int(found[2])) for found in numbers if found} == {(i + 1, count) for i in range(count)}
