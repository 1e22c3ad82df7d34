"""The torch engine's side of the guards: reports read back from the modules, the optimizer and the files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stages.contract import ledger, numbers
from stages.engines import Inputs, received
from stages.guards import reads, tensors
from stages.guards.report import (
    BuiltReport,
    ConfigReport,
    Digests,
    EndReport,
    ExitReport,
    ModuleReport,
    PairReport,
    StepRow,
)  # fmt: skip
from stages.guards.start import rotary_dim
from stages.models import extend, tensor_file, upcycle_experts
from stages.models.documents import Documents
from stages.models.hf_names import to_hf
from stages.models.looped import exit_distribution
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LOOPED
from stages.store import json_file, manifest
from stages.store.digest import digest_bytes
from stages.train import loop
from stages.train.checkpoint import METRICS, OPTIMIZER, Counters
from stages.train.objectives.preference import columns
from stages.train.optimizer import AVERAGE, STEP

PROBED = 64  # positions on which the exit distribution is read


class Rated(Protocol):
    """What a report asks of an optimizer."""

    def rates(self, lr: float) -> dict[str, float]:
        """LR of each group of parameters in a step at `lr`."""

    def numbers(self, clock: int) -> dict[str, float]:
        """What else it takes in a step that ends at a clock."""


def digests(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Digests of tensors as their safetensors file would have them."""
    return {name: _digest(tensor) for name, tensor in state.items()}


def _digest(tensor: Tensor) -> str:
    raw = tensor_file.raw(tensor.cpu()).numpy()
    return tensors.digest(tensor_file.DTYPES[tensor.dtype], tensor.shape, memoryview(raw))


def weights(modules: nn.ModuleDict) -> dict[str, Digests]:
    """Digests by module, under the names of its file."""
    return {name: digests(to_hf(module.state_dict())) for name, module in modules.items()}


def built(
    stage: Stage,
    inputs: Inputs,
    modules: nn.ModuleDict,
    optimizer: Rated | None,
    state: Iterable[tuple[str, Tensor]],
    frozen: Mapping[str, Digests] | None = None,
) -> BuiltReport:
    """What is before step 1; `state` is the optimizer's, or what a stage without training hands on. `frozen` are
    digests of the models that are read besides those that are trained.
    """
    found, moments, moved = {}, dict[str, str](), set[str]()
    for key, tensor in state:  # one after the other: they need not all be whole at once
        init = stage.init[key.partition(".")[0]]
        parts = upcycle_experts.apart(key, tensor) if init.experts else extend.kept({key: tensor}, init.rows).items()
        moments |= {name: _digest(part) for name, part in parts}
        if not key.endswith((f".{STEP}", f".{AVERAGE}")) and bool(tensor.any()):
            moved.add(key.partition(".")[0])
    for name, module in modules.items():
        init = stage.init[name]
        rotary: Any = getattr(module, "rotary", None)
        parameters = list(module.parameters())
        own: Digests = {key: value for key, value in moments.items() if key.startswith(f"{name}.")}
        parents = _parent_moments(stage, name, inputs) if init.optimizer == "inherit" else None
        if parents is not None and stage.phases:
            own, parents = _handed(stage, name, own, parents)
        found[name] = ModuleReport(
            weights=digests(extend.kept(to_hf(module.state_dict()), init.rows)),
            whole=None if init.rows is None else digests(to_hf(module.state_dict())),
            parent_weights=_parent_weights(stage, name, inputs, module),
            frequencies=None if rotary is None else tuple(rotary.inv_freq.tolist()),
            factors=(1.0, 1.0) if rotary is None else _factors(module),
            moments=own,
            parent_moments=parents,
            moments_moved=name in moved,
            takes_gradient=sum(parameter.requires_grad for parameter in parameters),
            parameters=len(parameters),
            read_frozen=(frozen or {}).get(name),
        )
    clock = _first_clock(stage)
    if optimizer is None:
        return BuiltReport(found, clock, {}, {})
    rates, again = (optimizer.rates(loop.learning_rate(stage, clock)) for _ in range(2))
    return BuiltReport(found, clock, rates, again, optimizer.numbers(clock))


def read_frozen(report: BuiltReport) -> dict[str, str]:
    """One digest of each further model that is read, over the names and digests of its tensors."""
    copies = {name: module.read_frozen for name, module in report.modules.items() if module.read_frozen is not None}
    lines = {name: "".join(f"{key} {one}\n" for key, one in sorted(found.items())) for name, found in copies.items()}
    return {name: digest_bytes(one.encode()) for name, one in lines.items()}


def _factors(module: Any) -> tuple[float, float]:
    """What a model's tables multiply by: at position 0 the cosine of every angle is 1."""
    tables = module.tables(torch.zeros(1, 1, dtype=torch.int64))
    return float(tables.main[0].flatten()[0]), tables.scores


def done(
    stage: Stage,
    modules: nn.ModuleDict,
    counters: Counters,
    log: reads.Reads,
    before: BuiltReport,
    run: Path,
    frozen: Mapping[str, Digests] | None,
    pair: PairReport | None,
) -> EndReport:
    """What the stage did; `run` is the folder with the metrics, `frozen` digests of the other models that were read."""
    names, measured = numbers.scheduled(stage), preference_columns(stage)
    with (run / METRICS).open(encoding="utf-8", newline="") as file:
        rows = [_row(row, names, measured) for row in csv.DictReader(file)]
    return EndReport(
        steps=counters.steps,
        consumed=counters.consumed,
        clock=counters.clock,
        rows=tuple(rows),
        before={name: module.received for name, module in before.modules.items()},
        after=weights(modules),
        reads=log.report(),
        lineage={corpus: tuple(parts) for corpus, parts in log.lineage.items()},
        exits=_exits(stage, modules, log),
        pair=pair,
        frozen_before={name: one.read_frozen for name, one in before.modules.items() if one.read_frozen is not None},
        frozen_after=frozen or {},
    )


def preference_columns(stage: Stage) -> tuple[str, ...]:
    """Columns of metrics.csv that the guard of preference training compares: the loss and what it is made of."""
    found = dict.fromkeys(name for phase in stage.phases if phase.preference for name in columns(phase.preference))
    return ("loss", *found) if found else ()


def _row(row: Mapping[str, str], names: Sequence[str], measured: Sequence[str]) -> StepRow:
    given, pairs = ({name: float(row[name]) for name in some if row[name]} for some in (names, measured))
    return StepRow(int(row["clock"]), float(row["lr"]), int(row["supervised"]), given, pairs)


def config(stage: Stage, result: Path) -> ConfigReport | None:
    """The language model's config.json as it was written; None without a language model."""
    for name, cfg in stage.modules.items():
        dim = rotary_dim(cfg)
        if dim is not None:
            raw = json_file.read(result / "model" / name / "config.json")
            return ConfigReport(raw["max_position_embeddings"], raw["rope_theta"], raw["rope_scaling"], dim)
    return None


def lineage(stage: Stage, inputs: Inputs) -> reads.Intervals:
    """What the stages above read, as far up as data is continued."""
    if stage.data == "restart":
        return {}
    return reads.read_lineage([manifest.payload(inputs.layout, ref) / "state" / reads.FILE for ref in stage.parents])


def _first_clock(stage: Stage) -> int:
    if not stage.phases:
        return 0
    return stage.phases[0].clock_start + ledger.step_at(stage.phases[0], 0).end


def _parent_weights(stage: Stage, name: str, inputs: Inputs, module: nn.Module) -> Digests | None:
    init = stage.init[name]
    if init.weights not in ("inherit", "upcycle"):
        return None
    folder = received.parent_folder(init, inputs)
    found = tensors.digests(manifest.weights(folder, name), init.rows)
    if not init.average:
        return found
    others = dict(module.named_buffers())  # what has no average
    return {key: one for key, one in found.items() if key in others} | tensors.averages(
        folder / "state" / OPTIMIZER, name
    )


def _handed(stage: Stage, name: str, own: Digests, parents: Digests) -> tuple[Digests, Digests]:
    """Without averages of weights, unless the parent has them and the stage takes them over."""
    kept = received.without_averages(parents)
    if received.takes_averages(stage, stage.init[name]) and len(kept) < len(parents):
        return own, parents
    return received.without_averages(own), kept


def _parent_moments(stage: Stage, name: str, inputs: Inputs) -> Digests:
    path = received.parent_folder(stage.init[name], inputs) / "state" / OPTIMIZER
    found = tensors.digests([path] if path.is_file() else [], stage.init[name].rows)
    return {key: value for key, value in found.items() if key.startswith(f"{name}.")}


@torch.no_grad()
def _exits(stage: Stage, modules: nn.ModuleDict, log: reads.Reads) -> ExitReport | None:
    row, last = log.last, stage.phases[-1].loops
    if row is None or last is None:
        return None
    (model,) = [modules[name] for name, cfg in stage.modules.items() if cfg.family in LOOPED]
    device = torch.device(stage.execution.device)
    tokens, positions = (torch.from_numpy(part[:PROBED]).to(device)[None] for part in (row.tokens, row.positions))
    _, gates = model(tokens, positions, Documents(row.segments[None, :PROBED], device), None, last.count)
    p = exit_distribution([gate.double() for gate in gates])
    entropies = -torch.xlogy(p, p).sum(0)
    return ExitReport(tuple(p.sum(0).flatten().tolist()), tuple(entropies.flatten().tolist()), last.count)
