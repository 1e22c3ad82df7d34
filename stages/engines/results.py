"""Writing what a stage leaves behind: weights in Hugging Face layout, optimizer state, counters, manifest, run.json."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stages.engines import Inputs, launch, place, readback
from stages.guards import run as guards
from stages.models import hf
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, LOOPED
from stages.spec.resolved_parallel import computes_in_bf16
from stages.store import attempts, files, finish, json_file, manifest, partials, stage_record
from stages.store.manifest import Manifest
from stages.train import checkpoint, determinism, finite
from stages.train.checkpoint import Counters
from stages.train.ranks import Ranks
from stages.train.stopping import NonFiniteError

Tier = Literal["bit-exact", "same-order", "statistical"]
TIERS: tuple[Tier, ...] = ("bit-exact", "same-order", "statistical")
# What the manifest digests. stage.json has titles and execution fields too, and run.json the time: both may differ.
PARTS = ("model", "state", "metrics.csv", "eval.json", "README.md")


def write_model(stage: Stage, modules: nn.ModuleDict, loops: int | None, folder: Path) -> None:
    """One folder per module, in Hugging Face layout; `loops` is a looped model's number of loops, None for others."""
    for name, module in modules.items():
        cfg, place = stage.modules[name], folder / "model" / name
        if cfg.family in LANGUAGE_MODELS:
            hf.save(module, cfg, stage.rope, stage.max_context, place, loops if cfg.family in LOOPED else None)
        else:
            hf.save(module, cfg, None, None, place)


def check_config(stage: Stage, folder: Path) -> None:
    """Read the language model's config.json back; raises GuardError unless it says what the stage says."""
    written = readback.config(stage, folder)
    if written is not None:
        guards.check_config(stage, written)


def write_state(
    like: Mapping[str, Tensor], counters: Counters, folder: Path, state: Iterable[tuple[str, Tensor]] | None = None
) -> None:
    """Optimizer state, as `checkpoint.save_state`, and counters. No optimizer file where there is no state: a child
    must see that there is none.
    """
    files.make_dirs(folder / "state")
    if like:
        checkpoint.save_state(folder / "state" / checkpoint.OPTIMIZER, like, state)
    checkpoint.save_counters(folder / "state" / checkpoint.COUNTERS, counters)


def check_weights(stage: Stage, modules: nn.ModuleDict) -> None:
    """Raise NonFiniteError unless what a stage without training hands on is finite."""
    if broken := finite.broken_tensors(modules.state_dict()):
        raise NonFiniteError(
            f"{stage.ref}: {len(broken)} tensors are not finite, among them "
            f"{finite.first_names(broken)}. What it is made from is damaged: run that again, or download the "
            "released folder again.",
            None,
        )


def check_evaluations(stage: Stage, found: Mapping[str, Any], when: str, step: int | None) -> None:
    """Raise NonFiniteError unless all numbers of an evaluation are finite; `step` is the last one of a training."""
    if broken := list(finite.broken_numbers(found)):
        cut = stage.evaluation.context < stage.longest
        rows = f", or evaluate longer rows than the {stage.evaluation.context} tokens of `evaluation`" if cut else ""
        trained = "Its last checkpoint is kept. A rerun meets the same numbers again: lower the learning rate, or "
        given = "Nothing is trained here, and a rerun meets the same numbers again: "
        raise NonFiniteError(
            f"{stage.ref}: evaluated {when}: {finite.first_names(broken)}; allowed: finite numbers. "
            f"{trained if step else given}hold out more documents where too little is there to evaluate on{rows}.",
            step,
        )


@dataclass(frozen=True)
class Promise:
    """What a manifest says of a result's worth: its tier, and whether a fresh start stands in for released weights."""

    tier: Tier
    stand_in: bool

    def at_most(self, *tiers: Tier) -> Promise:
        """The same, where no more is promised than by each of these."""
        return replace(self, tier=worst(self.tier, *tiers))


def promise(stage: Stage, inputs: Inputs) -> Promise:
    """What a stage may promise by its own spec and by its parents' results.

    Training asks before its first step: a parent may be away, or run again, when it ends.
    """
    return Promise(tier(stage, inputs), stand_in(stage, inputs))


@dataclass(frozen=True)
class Course:
    """How a training went, for run.json.

    `seconds`: what each evaluation and the checkpoints took. `peaks`: MB that each rank held. `made_by`: the code and
    the environments of all its steps. `read`: by phase and corpus, how many tokens (items of pairs) were read.
    `read_frozen`: digests of the models that were read besides the trained ones, by module.
    """

    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    peaks: Sequence[float] = ()
    made_by: Sequence[Mapping[str, str]] = ()
    read: Sequence[Mapping[str, int]] | None = None
    read_frozen: Mapping[str, str] = field(default_factory=dict)


def complete(
    stage: Stage,
    inputs: Inputs,
    attempt: attempts.Attempt,
    counters: Counters,
    points_to: str | None,
    machine: place.Machine,
    promised: Promise,
    course: Course | None = None,
) -> str:
    """Write stage.json, run.json and the manifest, put the result in place, drop partial checkpoints and what
    killed launchers left.

    `course` is None where nothing was trained.
    """
    folder = attempt.result
    stage_record.write(folder, stage)
    json_file.write(folder / "run.json", _run(stage, attempt, machine, course or Course()))
    record = Manifest(
        schema_version=1,
        stage=stage.ref,
        key=inputs.key,
        tier=promised.tier,
        stand_in=promised.stand_in,
        parents=dict(inputs.parents),
        points_to=points_to,
        counters=counted(counters),
        shards=manifest.shards(folder, PARTS, attempt.written),
    )
    digest = finish.finish(attempt, record)
    partials.clear(inputs.layout, inputs.key)
    launch.clear(inputs)
    return digest


def _run(stage: Stage, attempt: attempts.Attempt, machine: place.Machine, course: Course) -> dict[str, Any]:
    """run.json: what may differ from run to run."""
    own = peak_memory_mb(stage.execution.device)
    memory = [max([own, *course.peaks[:1]]), *course.peaks[1:]]  # this rank's to the very end
    dtype = torch.bfloat16 if computes_in_bf16(stage.engine_class) else torch.float32
    return {
        "environment": place.computing(machine.fields),
        "settings": determinism.settings(stage.execution),
        "ops": place.kernels(stage.execution.device, dtype, stage.execution.engine),
        **machine.ranks,
        "made_by": list(course.made_by),
        "attempt": attempt.folder.name,
        "finished": round(time.time(), 3),  # seconds since 1970
        "seconds": course.seconds,
        "read": None if course.read is None else list(course.read),
        **({"read_frozen": dict(course.read_frozen)} if course.read_frozen else {}),
        "ranks": len(memory),
        "nodes": nodes(),
        "peak_memory_mb": max(memory),
        "peak_memory_mb_by_rank": memory,
    }


def peak_memory_mb(device: str) -> float:
    """The most that was held at once, in 10^6 bytes: allocated on the GPU, or resident in this process."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated()) / 1e6
    try:  # Linux: getrusage would count what the process that started this one had held
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes on macOS, KiB elsewhere


def peaks_mb(stage: Stage, ranks: Ranks) -> list[float]:
    """`peak_memory_mb` of each rank, on every rank; all of them must call it."""
    return [peak for (peak,) in ranks.each([peak_memory_mb(stage.execution.device)])]


def nodes() -> int:
    """How many machines the ranks are on, by torchrun's variables; 1 without them."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    return -(-ranks // int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))


def tier(stage: Stage, inputs: Inputs) -> Tier:
    """What a rerun is promised, and never more than the parents promise.

    Equal bits: by deterministic kernels, on GPUs or on one CPU thread per rank, for a number of ranks that cuts the
    gradients' tree into whole blocks. The NeMo engine adds in an order that its layout decides, which is in no key.
    """
    execution = stage.execution
    whole = Ranks(0, execution.ranks).exact or not stage.phases
    one_order = execution.exact and (execution.device == "cuda" or execution.threads == 1)
    own: Tier = "bit-exact" if one_order and whole and execution.engine == "torch" else "same-order"
    return worst(own, *(record.tier for record in _parents(inputs)))


def worst(*tiers: Tier) -> Tier:
    """The least that any of these promises."""
    return max(tiers, key=TIERS.index)


def stand_in(stage: Stage, inputs: Inputs) -> bool:
    """Whether released weights were replaced by a fresh start anywhere in the lineage."""
    return stage.stand_in or any(record.stand_in for record in _parents(inputs))


def counted(counters: Counters) -> dict[str, int | float]:
    """A manifest's counters."""
    found: dict[str, int | float] = {
        "steps": counters.steps, "consumed": counters.consumed, "clock": counters.clock
    }  # fmt: skip
    return found if counters.skips is None else found | {"skipped": counters.skips.skipped}


def inherited_counters(inputs: Inputs) -> Counters:
    """Counters of a stage that does not train: those of the parent that came furthest."""
    found = [Counters(0, 0, 0, 0, 0, int(record.counters.get("clock", 0))) for record in _parents(inputs)]
    return max(found, key=lambda counters: counters.clock, default=Counters(0, 0, 0, 0, 0, 0))


def _parents(inputs: Inputs) -> list[Manifest]:
    return [manifest.read(inputs.layout.manifest(ref)) for ref in inputs.parents]
