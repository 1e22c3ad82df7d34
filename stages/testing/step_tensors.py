"""What is inside a component of a step: its tensors by name, each with a digest, so that a difference names them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from stages.printable import first_few
from stages.train.metrics import GRADIENT, ROWS

CHECKSUMS = "checksums.csv"  # train.checkpoint.CHECKSUMS, which needs torch
DIGEST = 16
# Of a step, as one thing follows from another: where several differ, the first is what the others may follow from.
ORDER = ("step", "phase", "parameters", "optimizer state", "lr", "samples", "loss", "gradient", "grad_norm")
NAMED = 3  # tensors that a message names
Tensors = Mapping[str, str]  # name -> digest
Inside = Mapping[str, Mapping[str, Tensors]]  # step -> component -> tensors


def of_result(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Of a stage's result, from checksums.csv: tensors of each step by component; nothing where none were taken.

    Parameters are what a step begins with, frozen ones and buffers too; gradients are those before the clip.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row.pop("step"): _components(row) for row in csv.DictReader(file)}


def _components(row: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, word in row.items():
        if word:  # a table that another phase shares may have columns that this phase has not
            found.setdefault(_component(name, row), {})[name] = word
    return found


def _component(name: str, row: Mapping[str, str]) -> str:
    if name == ROWS:
        return "samples"
    if name.endswith(GRADIENT):
        return "gradient"
    module, _, last = name.rpartition(".")
    counted = last == "step" and "." not in module  # updates that a module has had (train.optimizer.STEP)
    return "optimizer state" if counted or module in row else "parameters"


def ordered(row: Mapping[str, Any]) -> dict[str, Any]:
    """A step's components in the order in which one follows from another."""
    return {name: row[name] for name in ORDER if name in row}


def digest(tensors: Tensors) -> str:
    """Of all tensors of a component."""
    return str(blake3("".join(f"{name} {word}\n" for name, word in tensors.items()).encode()).hexdigest())[:DIGEST]


def differing(old: Inside, new: Inside, step: str, component: str) -> str:
    """The tensors of a component that differ at a step, in words; "" where it has one at most, or none is known."""
    before, now = (one.get(step, {}).get(component, {}) for one in (old, new))
    names = list(dict.fromkeys([*before, *now]))
    found = [name for name in names if before.get(name) != now.get(name)]
    if not found or len(names) < 2:
        return ""
    return f"{component}: {len(found)} of {len(names)} differ, {first_few(found, NAMED)}"
