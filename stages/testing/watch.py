"""What a training loop shows of each optimizer step, in the order in which one thing follows from another.

A row has the state that a step begins with, then what it reads and computes: where several differ in one step, the
first is what the others may follow from.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from torch import nn

from stages.testing import curves
from stages.testing.golden import GoldenError

DIGITS = 12  # of a digest
GENERATOR = "RNG of "


class Watch:
    """Called once per optimizer step, when the gradient is as the optimizer will use it and nothing is updated yet."""

    def __init__(self, start: int, named: bool) -> None:
        """`start`: steps that were done before. `named`: digest each tensor too, to name those that differ."""
        self.start, self._named = start, named
        self.tensors: dict[str, dict[str, dict[str, str]]] = {}
        self.rows: list[dict[str, Any]] = []
        self.drawn: set[str] = set()  # generators that were drawn from between two steps
        self._generators: dict[str, str] = {}
        self._kept: tuple[nn.Module, tuple[Any, ...], dict[str, Any]] | None = None

    def __call__(self, *, loss: Any, batch: Any, model: nn.Module, optimizer: Any, **more: Any) -> None:
        """Record a step.

        `loss`: of the whole step, a number. `batch`: what the step read; a list of batches is its micro-batches.
        `optimizer`: one, or a list of them. `more`: whatever else a checkpoint has to bring back, by name (an EMA, a
        GradScaler, a torch.Generator, a counter). Raises GoldenError for a loss that is not finite.
        """
        step = self.start + len(self.rows) + 1
        value = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
        if not np.isfinite(value):
            raise GoldenError(f"the loss of step {step} is {value}; a run that is compared needs a finite one.")
        optimizers = tuple(optimizer) if isinstance(optimizer, list | tuple) else (optimizer,)
        generators = _generators()
        self.drawn |= {name for name, one in self._generators.items() if generators.get(name) != one}
        self._generators, self._kept = generators, (model, optimizers, more)
        norm, gradient = _gradient(model)
        self.rows.append({
            "step": step, "mode": digest(_modes(model)), **_state(model, optimizers, more), **_options(optimizers),
            **generators, "data": _data(batch), **_buffers(model), "loss": curves.hexed(value),
            "gradient norm": curves.hexed(norm), "gradient": gradient,
        })  # fmt: skip
        if self._named:
            self.tensors[str(step)] = _named(model, optimizers)

    def end(self) -> dict[str, str]:
        """What the last step left."""
        return {**_state(*self._kept), **_buffers(self._kept[0])} if self._kept else {}


def digest(value: Any) -> str:
    """Of plain values, tensors and arrays, and containers of them."""
    hasher = blake3()
    _feed(hasher, value, "")
    return str(hasher.hexdigest())[:DIGITS]


def _feed(hasher: Any, value: Any, name: str) -> None:
    if hasattr(value, "state_dict"):
        _feed(hasher, value.state_dict(), name)
    elif isinstance(value, torch.Generator):
        _feed(hasher, value.get_state(), name)
    elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
        array = _array(value)
        hasher.update(f"{name}\0{array.dtype}{tuple(array.shape)}\0".encode() + array.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _feed(hasher, value[key], f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            _feed(hasher, one, f"{name}.{number}")
    elif value is None or isinstance(value, str | bytes | int | float):
        hasher.update(f"{name}\0{value!r}\0".encode())
    else:
        raise GoldenError(
            f"watch was given a {type(value).__name__}; allowed: tensors, arrays, numbers, texts, torch.Generator, "
            "objects with state_dict(), and containers of these."
        )


def _array(value: Any) -> np.ndarray[Any, Any]:
    """A tensor's memory as an array; types that numpy has not, as bytes."""
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    here = value.detach().cpu().contiguous()
    return here.reshape(*here.shape, 1).view(torch.uint8).numpy() if here.dtype == torch.bfloat16 else here.numpy()


def _modes(model: nn.Module) -> dict[str, Any]:
    """Of each module: whether it trains; of dropout, its rate too."""
    return {name: [one.training, getattr(one, "p", None)] for name, one in model.named_modules()}


def _state(model: nn.Module, optimizers: Iterable[Any], more: Mapping[str, Any]) -> dict[str, str]:
    """What a step begins with, and a checkpoint has to bring back."""
    parameters = _entries(model, buffers=False)
    found = {"parameters": digest(parameters), **{name.replace("_", " "): digest(one) for name, one in more.items()}}
    for number, (one, group) in enumerate(_groups(optimizers)):
        states = [one.state.get(parameter, {}) for parameter in group["params"]]
        found[_of("optimizer state", number)] = digest(states)
    return found


def _named(model: nn.Module, optimizers: Iterable[Any]) -> dict[str, dict[str, str]]:
    """A digest of each tensor of the components that have several, by its name in the model."""
    names = {one: name for name, one in model.named_parameters()}
    found = {
        "parameters": _entries(model, buffers=False),
        "buffers": _entries(model, buffers=True),
        "gradient": {name: one.grad for name, one in model.named_parameters() if one.grad is not None},
    }
    for number, (one, group) in enumerate(_groups(optimizers)):
        found[_of("optimizer state", number)] = {
            f"{names.get(parameter, place)}.{moment}": value
            for place, parameter in enumerate(group["params"])
            for moment, value in one.state.get(parameter, {}).items()
        }
    return {part: {name: digest(one) for name, one in tensors.items()} for part, tensors in found.items()}


def _buffers(model: nn.Module) -> dict[str, str]:
    """As the forward pass left them: running statistics follow from what the step read and drew."""
    found = _entries(model, buffers=True)
    return {"buffers": digest(found)} if found else {}


def _entries(model: nn.Module, buffers: bool) -> dict[str, Any]:
    """Of what a checkpoint has of the model, its buffers or the rest."""
    names = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    return {name: one for name, one in model.state_dict().items() if (name in names) == buffers}


def _options(optimizers: Iterable[Any]) -> dict[str, str]:
    """Each group's learning rate and weight decay, and a digest of all its other options."""
    found, others = dict[str, str](), list[Any]()
    for name, key in (("learning rate", "lr"), ("weight decay", "weight_decay")):
        for number, (_, group) in enumerate(_groups(optimizers)):
            if key in group:
                found[_of(name, number)] = curves.hexed(float(group[key]))
    for _, group in _groups(optimizers):
        left_out = ("params", "lr", "weight_decay", "initial_lr", "param_names")
        others.append({key: value for key, value in group.items() if key not in left_out})
    return {**found, "optimizer options": digest(others)}


def _groups(optimizers: Iterable[Any]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    return ((one, group) for one in optimizers for group in one.param_groups)


def _of(name: str, number: int) -> str:
    return f"{name} of group {number}" if number else name


def _generators() -> dict[str, str]:
    """The process-wide generators."""
    found = {"torch": digest(torch.get_rng_state())}
    if torch.cuda.is_initialized():
        found["CUDA"] = digest(torch.cuda.get_rng_state_all())
    found["numpy"] = digest(list(np.random.get_state(legacy=True)))
    found["python"] = digest(repr(random.getstate()))
    return {GENERATOR + name: one for name, one in found.items()}


def _gradient(model: nn.Module) -> tuple[float, str]:
    """Its L2 norm, summed in float64, and its digest."""
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    if not found:
        raise GoldenError("watch was called where no parameter has a gradient: call it after backward().")
    squares = [one.double().pow(2).sum().item() for one in found.values()]
    return float(np.sqrt(sum(squares))), digest(found)


def _data(batch: Any) -> str:
    """The number of values that a step read, and a digest of its rows, which does not depend on how micro-batches
    divide them.
    """
    found: dict[str, list[Any]] = {}
    _leaves(batch, "", found)
    hasher, count = blake3(), 0
    for name, values in found.items():
        hasher.update(f"{name}\0".encode())
        for value in values:
            rows = list(value) if getattr(value, "ndim", 0) else [value]
            count += int(np.prod(getattr(value, "shape", ())))
            for row in rows:
                _feed(hasher, row, "")
    return f"{count} {str(hasher.hexdigest())[:DIGITS]}"


def _leaves(batch: Any, name: str, found: dict[str, list[Any]]) -> None:
    if isinstance(batch, Mapping):
        for key in batch:
            _leaves(batch[key], f"{name}.{key}", found)
    elif isinstance(batch, list) and batch and all(isinstance(one, list | tuple | Mapping) for one in batch):
        for one in batch:
            _leaves(one, name, found)
    elif isinstance(batch, list | tuple):
        for number, one in enumerate(batch):
            _leaves(one, f"{name}.{number}", found)
    else:
        found.setdefault(name, []).append(batch)
