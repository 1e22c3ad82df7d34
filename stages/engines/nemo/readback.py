"""What Megatron's built objects say of themselves, for the guards before step 1: not what they were configured to be.

Megatron fills in, corrects and overrides between a configuration and a model: recipes, bridges from Hugging Face,
`finalize`, `validate`, loaded checkpoints. So each field is read from the object that computes with it, rotary
frequencies from the module that turns, rates and decay from the groups of the optimizer, on every rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from stages.engines.nemo.config import Config
from stages.engines.nemo.container import value
from stages.engines.nemo.local import Owned
from stages.engines.nemo.rotary import rotaries
from stages.errors import UserError
from stages.guards.report import BuiltReport, Digests
from stages.spec.resolved import Stage
from stages.train.ranks import Ranks

SHOWN = 3
ABSENT = "absent"


class BuiltOtherwiseError(UserError):
    """Megatron's objects are not what the stage's configuration says; nothing was trained."""

    repeats = True


def check_fields(
    stage: Stage, stated: Config, chunks: Sequence[nn.Module], models: Sequence[nn.Module], core: Any, ranks: Ranks
) -> None:
    """Raise BuiltOtherwiseError on all ranks where an object of one of them has another value than configured.

    `chunks` are of the model that is trained, `models` those and what is read next to it.
    """
    fields = _fields(stated, chunks, models, core)
    own = [f"{name} is {found!r}, configured {wanted!r}" for name, found, wanted in fields]
    differences = sorted({one for theirs in ranks.values(own) for one in theirs})
    if differences:
        rest = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise BuiltOtherwiseError(
            f"{stage.ref}: Megatron built something else than was configured: "
            f"{'; '.join(differences[:SHOWN])}{rest}. Run with the versions that `make nemo` installs, without plugins."
        )


def _fields(
    stated: Config, chunks: Sequence[nn.Module], models: Sequence[nn.Module], core: Any
) -> Iterator[tuple[str, Any, Any]]:
    """Fields that differ: name, found, configured."""
    chain = getattr(core, "chained_optimizers", [core])
    objects: dict[str, list[Any]] = {
        "model": [getattr(chunk, "config") for chunk in models],  # noqa: B009
        "ddp": [getattr(chunk, "ddp_config") for chunk in chunks],  # noqa: B009
        "optimizer": [one.config for one in chain],
    }
    for section, built in objects.items():
        for name, plain in (stated[section] or {}).items():
            if section == "optimizer" and name == "optimizer":
                continue  # the registry's name of ours, where it is Muon
            wanted = value(name, plain)
            for one in built:
                found = getattr(one, name, ABSENT)
                if found != wanted:
                    yield f"{section}.{name}", found, wanted


def completed(
    report: BuiltReport | None,
    parameters: Sequence[Owned],
    chunks: Sequence[nn.Module],
    ranks: Ranks,
    computed: Mapping[str, Digests],
) -> BuiltReport | None:
    """The first rank's report with what all ranks' objects say; the others have none, but all call this. `computed` are
    digests of the weights that a copy in other types than theirs has to have.
    """
    own = {
        "frequencies": [[number.hex() for number in one.inv_freq.tolist()] for one in rotaries(chunks)],
        "parameters": [
            [one.placed.module, one.placed.key, one.trained]
            for one in parameters
            if isinstance(one.tensor, nn.Parameter)
        ],
    }
    reports = ranks.values(own)
    if report is None:
        return None
    turned = _one_of([tuple(map(float.fromhex, row)) for one in reports for row in one["frequencies"]])
    takes: dict[str, dict[str, bool]] = {}
    for one in reports:
        for module, key, trained in one["parameters"]:
            takes.setdefault(module, {}).setdefault(key, trained)
    modules = {
        name: replace(
            module,
            frequencies=None if module.frequencies is None else turned,
            factors=(1.0, 1.0),  # the angles that Core's layers are given here have none
            takes_gradient=sum(takes.get(name, {}).values()),
            parameters=len(takes.get(name, {})),
            computed=computed.get(name),
        )
        for name, module in report.modules.items()
    }
    return replace(report, modules=modules)


def _one_of(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The frequencies of all ranks; where they are not the same, all of them, which no guard takes."""
    different = sorted(set(rows))
    return tuple(number for row in different for number in row)
