"""A few steps of each objective, on prepared corpora and through the engine, and what is kept of them in a golden."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from stages.data.corpus import corpus_manifest
from stages.data.loading.loader import PhaseData
from stages.engines import run, training
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model
from stages.spec.resolved_phases import BatchStep, Coca, Resolution, Source
from stages.store import manifest
from stages.store.fingerprint import fingerprint
from tests.unit.data.small import Small, half
from tests.unit.train import tiny

VOCAB, CONTEXT, CAPTION = 320, 64, 32
SAME_ORDER_STEPS, SAME_ORDER = 3, 1e-5  # the tier for environments whose bits differ: so many steps, relative
Golden = dict[str, Any]


def stage(objective: str, small: Small) -> Stage:
    """The objective's tiny stage, reading the small project's corpora: four sequences a step, then eight, a cut end."""
    made = tiny.make(objective)
    whole = objective in ("sft", "preference")  # rows of whole documents
    context = 2 * CONTEXT if objective == "sft" else CONTEXT
    budget = 44 * context + (0 if whole else context // 2)
    changes: dict[str, Any] = {
        "context": context,
        "budget": budget,
        "batch": (BatchStep(after=0, sequences=4), BatchStep(after=8 * context, sequences=8)),
        "sources": sources(objective, small),
    }
    if whole:
        changes["packing"] = "whole"
    if objective == "joint":
        changes["share"] = half()
    if objective == "coca":
        changes["coca"] = Coca(caption_weight=2.0, resolutions=(Resolution(after=0, cap=16),))
    phase = made.phases[0].model_copy(update=changes)
    modules = {name: fitted(model) for name, model in made.modules.items()}
    cut_with = corpus_manifest.read_manifest(small.data / "tokenizer").digest
    given = {"phases": (phase,), "modules": modules, "schedule": tiny.schedule(budget), "tokenizer": cut_with}
    return made.model_copy(update=given)


def fitted(model: Model) -> Model:
    """A tiny model with the tokenizer's vocabulary and the pictures' channels."""
    changes = {"vocab": VOCAB, "channels": 3, "length": CAPTION}
    return model.model_copy(update={name: value for name, value in changes.items() if name in type(model).model_fields})


def sources(objective: str, small: Small) -> tuple[Source, ...]:
    names = {
        "align": ("captions",), "joint": ("math", "captions"), "coca": ("pairs",), "sft": ("reasoning",),
        "preference": ("preferences",),
    }  # fmt: skip
    return tuple(small.source(name) for name in names.get(objective, ("math",)))


def recorder(read: list[Any], stop_at: int | None = None) -> type[PhaseData]:
    """The loader, noting which documents training read; asks the run to stop at its `stop_at`-th step.

    Training has the first loader of a run. The second is of the pass after the last update, which reads some again.
    """
    loaders: list[PhaseData] = []

    class Recorder(PhaseData):
        def samples(self, first: int, count: int, tail: int) -> Any:
            rows = super().samples(first, count, tail)
            return self.note(rows, [row.spans for row in rows])

        def pairs(self, first: int, count: int, tail: int) -> Any:
            rows = super().pairs(first, count, tail)
            return self.note(rows, [row.items for row in rows])

        def note(self, rows: Any, ids: list[Any]) -> Any:
            if not loaders:
                loaders.append(self)
            if loaders[0] is self:
                read.extend(ids)
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return rows

    return Recorder


def train(made: Stage, small: Small, root: Path, patch: pytest.MonkeyPatch, stop_at: int | None = None) -> Golden:
    """Run the stage under root and return what its golden holds."""
    read: list[Any] = []
    patch.setattr(training, "PhaseData", recorder(read, stop_at))
    inputs = tiny.inputs(root)
    inputs = type(inputs)(inputs.layout, inputs.key, inputs.phase_keys, {}, small.data, {})
    run(made, inputs)
    folder = inputs.layout.stage("tiny/box")
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    record = manifest.read(folder / "manifest.json")
    return {
        "about": about(),
        "steps": [f"{row['step']} {float(row['loss']).hex()} {float(row['grad_norm']).hex()}" for row in rows],
        "digests": {
            shard.file: shard.blake3[:16] for shard in record.shards if shard.file.endswith(".safetensors")
        },
        "samples": blake3(json.dumps(read).encode()).hexdigest()[:16],
    }  # fmt: skip


def about() -> str:
    """What the environment is, for people; its id is the golden's key."""
    found = fingerprint()
    return f"{found['torch']}, python {found['python']}, {found['cpu_level']}, {found['cpu_model']}"


def steps(golden: Golden) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each step."""
    return [(float.fromhex(loss), float.fromhex(norm)) for _, loss, norm in (line.split() for line in golden["steps"])]


def divergence(old: Golden, new: Golden) -> str:
    """First divergent step and maximum of each column, and which digests differ; "" where nothing does."""
    said = []
    before, after = steps(old), steps(new)
    if len(before) != len(after):
        said.append(f"{len(before)} steps became {len(after)}")
    for column, name in enumerate(("loss", "gradient norm")):
        apart = [abs(a[column] - b[column]) for a, b in zip(before, after, strict=False)]
        if any(apart):
            first = next(step for step, one in enumerate(apart, 1) if one)
            worst = max(range(len(apart)), key=apart.__getitem__)
            relative = apart[worst] / abs(before[worst][column])
            said.append(
                f"{name} first diverges at step {first}, by at most {apart[worst]:.3g} ({relative:.2g} relative), "
                f"at step {worst + 1}"
            )
    said += [f"{name} differs" for name, one in old["digests"].items() if new["digests"].get(name) != one]
    if old["samples"] != new["samples"]:
        said.append("other documents were read")
    return "; ".join(said)


def same_order(old: Golden, new: Golden) -> bool:
    """Whether the first steps agree to the tier's tolerance and the same documents were read."""
    pairs = zip(steps(old)[:SAME_ORDER_STEPS], steps(new)[:SAME_ORDER_STEPS], strict=True)
    near = all(one == pytest.approx(other, rel=SAME_ORDER, abs=0.0) for one, other in pairs)
    return near and old["samples"] == new["samples"]
