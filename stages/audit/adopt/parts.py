"""Models, optimizers, schedules and data of an adopted recipe, each once for all stages that have the same."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from fractions import Fraction

from stages.audit import curve
from stages.audit.adopt.page import Page, grouped, name_of, source, unknown
from stages.audit.adopt.samples import SIZES
from stages.audit.family import MODEL, READ, Family, family
from stages.audit.figures import batches_differ, first_step, last_step
from stages.audit.loads import on_load
from stages.audit.recipe import Edge, Pipeline, Scalar, Stage, Value, is_number
from stages.audit.released import begins_from, models
from stages.errors import SpecError
from stages.printable import printable
from stages.spec.families import FAMILIES

_SIZES = (*(READ.get(one, one) for one in MODEL if one not in {"norm_eps", "window", "routed_scale"}), "tied")
OPTIMIZER = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}
NOT_SAID = "  # nothing that was read says it"
STEPS, RATE, BATCH, CONTEXT = 1000, 1e-4, 512, 4096  # where they are unknown


@dataclass
class Parts:
    """What stages share, by what it is made of: entries of pipeline.yaml."""

    page: Page
    models: dict[tuple[object, ...], str] = field(default_factory=dict)
    optimizers: dict[tuple[object, ...], str] = field(default_factory=dict)
    families: dict[str, Family] = field(default_factory=dict)  # by model

    def model(self, stage: Stage) -> tuple[str, list[str]]:
        """A model's name, and its lines if it is a new one."""
        kind = family(stage)
        fields = [one for one in FAMILIES[kind.name].model_fields if one in MODEL]
        figures = (kind.name, tied(stage), *(stage.get(READ.get(one, one)) for one in (*fields, "init_std")))
        if figures in self.models:
            return self.models[figures], []
        name = self.models[figures] = name_of("model", self.models.values(), "model")
        self.families[name] = kind
        lines = [f"  {name}:", f"    family: {kind.name}  # {' '.join(printable(kind.because).split())}"]
        for key in fields:
            read = READ.get(key, key)
            value = stage.count(read) if isinstance(MODEL[key], int) else stage.number(read)
            lines.append(f"    {key}: {grouped(MODEL[key] if value is None else value)}")
            mark = unknown(f"{stage.name} does not say it") if value is None else source(stage, read)
            self.page.cover(f"models.{name}.{key}", mark)
        std = stage.number("init_std")
        silent = "" if {"tied", "untied"} & set(stage.values) or stage.framework == "megatron-lm" else NOT_SAID
        lines += [f"    tied: {str(tied(stage)).lower()}{silent}", f"    init_std: {0.02 if std is None else std:g}"]
        self.page.cover(f"models.{name}.init_std", source(stage, "init_std"))
        return name, lines

    def optimizer(self, stage: Stage) -> tuple[str, list[str]]:
        """An optimizer's name, and its line if it is a new one."""
        figures = tuple(stage.get(name) for name in OPTIMIZER)
        if figures in self.optimizers:
            return self.optimizers[figures], []
        name = self.optimizers[figures] = name_of("adamw", self.optimizers.values(), "adamw")
        words = ["kind: adamw"]
        for key, otherwise in OPTIMIZER.items():
            value = stage.number(key)
            if key == "clip" and value == 0:
                words.append("clip: none")
                continue
            words.append(f"{key}: {otherwise if value is None else value:g}")
            self.page.cover(f"optimizers.{name}.{key}", source(stage, key))
            if key == "weight_decay":
                words.append("decay: matrices")
        return name, [f"  {name}: {{{', '.join(words)}}}"]


def with_sizes(stage: Stage, pipeline: Pipeline) -> Stage:
    """The first of some runs with the sizes of its model; what it does not say, those that go on from it may say.

    Every hand-over keeps the weights, so all of these runs have one model. Raises SpecError where two sizes differ.
    """
    found: dict[str, Value] = {}
    runs = [stage]
    for run in runs:
        runs += [edge.child for edge in pipeline.children(run)]
        for name in (one for one in _SIZES if run.get(one) is not None):
            here, first = run.values[name], found.setdefault(name, run.values[name])
            if here.value != first.value:
                raise SpecError(here.where, here.key, f"{name} {here.value}", f"{first.value}, as {first.where} has it",
                                "A run that goes on from another one has its model.")  # fmt: skip
        if "heads" in found:
            found.setdefault("kv_heads", found["heads"])
    released = begins_from(stage) if "heads" not in found and on_load(stage) is not None else None
    for name, size in models()[released].items() if released is not None else ():
        if name in _SIZES:
            at = stage.at("converted_from", "pretrained", "load")
            found.setdefault(name, Value(size, at, name, default=f"{released}, as it was published"))
    return replace(stage, values=stage.values | found)


def tied(stage: Stage) -> bool:
    """Whether embedding and head are one: they are in Megatron unless a switch says that they are not."""
    return stage.on("tied") if "tied" in stage.values else stage.framework == "megatron-lm" and not stage.on("untied")


def shares_clock(edge: Edge | None) -> bool:
    """Whether the child goes on along its parent's schedule from its end: equal, or that of the checkpoint."""
    loads = None if edge is None else on_load(edge.child)
    if edge is None or loads is None or not loads.step or end(edge.child) is None:
        return False
    if end(edge.parent) is None or first_step(edge.child) != end(edge.parent):
        return False
    if loads.scheduler == "checkpoint":
        return True
    before, after = curve.of(edge.parent), curve.of(edge.child)
    return before is not None and before == after


def pieces(lineage: list[Stage], page: Page, path: str, parent_rate: float | None) -> list[str]:
    """The schedule of stages that go on from one another along it, and the sources of its figures."""
    stage = lineage[0]
    shape, first = curve.of(stage), begin(stage)
    last = first + sum(steps(one) for one in lineage)
    if shape is None:
        page.cover(path, unknown(f"{stage.name} does not say all of it"))
        words = _length(lineage, 0, last - first)
        rate = final_rate(stage)
        return [_piece("constant", f"from: {rate:g}", None, words, _jump(stage, rate, parent_rate))]
    stated = source(stage, *(one for one in ("lr", "min_lr", "warmup_steps", "decay_steps", "decay", "steps")
                             if one in stage.values))  # fmt: skip
    grows = next((one.name for one in lineage if batches_differ(one)), None)
    page.cover(path, stated if grows is None else unknown(f"{grows} counts it in samples, and its batch grows"))
    borders = sorted({first, last, *(one for one in (shape.warmup, shape.start, shape.end) if first < one < last)})
    lines: list[str] = []
    for start, end in itertools.pairwise(borders):
        before, after = shape.at(start), shape.at(end)
        words = f"from: {before or 0:g}" if not lines else ""
        jump = _jump(stage, before or 0.0, parent_rate) if not lines else ""
        kind, to = _kind(shape, start, end), f"to: {after or 0:g}"
        if before == after:
            kind, to = "constant", ""
        if kind is None:
            kind = "linear"
            page.cover(f"{path}.{len(lines)}", unknown(f"{stage.name} has a part of a shape that has no name here"))
        lines.append(_piece(kind, words, to, _length(lineage, start - first, end - first), jump))
    return lines


def final_rate(stage: Stage) -> float:
    """The rate at which a stage ends; where its curve is not known, the peak, or what stands for it."""
    shape = curve.of(stage)
    rate = None if shape is None else shape.at(begin(stage) + steps(stage))
    return (stage.number("lr") or RATE) if shape is None else rate or 0.0


def _kind(shape: curve.Curve, start: int, end: int) -> str | None:
    """The shape between two steps; None for a part of a curve that is no whole piece."""
    if end <= shape.warmup or shape.shape == "linear":
        return "linear"
    if start >= shape.end or end <= shape.start or shape.shape == "constant":
        return "constant"
    return "cosine" if shape.shape == "cosine" and (start, end) == (shape.start, shape.end) else None


def _length(lineage: list[Stage], start: int, end: int) -> str:
    """The length of a piece: in steps of the one stage that reads it, in tokens where several do or its batch grows."""
    if len(lineage) == 1 and SIZES not in lineage[0].values:
        return f"{end - start} steps"
    tokens = before = 0
    for stage in lineage:
        inside = min(end, before + steps(stage)) - max(start, before)
        tokens += max(0, inside) * step_tokens(stage)
        before += steps(stage)
    return f"{tokens:_} tokens"


def _piece(kind: str, start: str, to: str | None, length: str, jump: str) -> str:
    words = [f"shape: {kind}", *(one for one in (start, to) if one), f"for: {length}", *([jump] if jump else [])]
    return "    - {" + ", ".join(words) + "}"


def _jump(stage: Stage, rate: float, parent_rate: float | None) -> str:
    """The reason that a jump needs, where the parent's last rate is another one."""
    if parent_rate is None or abs(rate - parent_rate) <= 1e-9 * max(rate, parent_rate):
        return ""
    return f'jump: "as {stage.where.file} has it"'


def shares(stage: Stage, data: str, data_weights: str) -> list[tuple[str, Fraction]] | None:
    """The sets of a figure, each with its share in millionths; they sum to one. None where they are not known."""
    paths, weights = stage.get(data), stage.get(data_weights)
    if not isinstance(paths, tuple) or not paths:
        return None
    if not isinstance(weights, tuple) or len(weights) != len(paths):
        return [(str(paths[0]), Fraction(1))] if len(paths) == 1 else None
    known = [Fraction(str(one)) for one in weights if is_number(one)]
    if len(known) != len(weights) or not all(one > 0 for one in known):
        return None
    total = sum(known)
    rounded = [Fraction(round(one / total * 10**6), 10**6) for one in known]
    rounded[0] += 1 - sum(rounded)
    return list(zip(map(str, paths), rounded, strict=True)) if all(one > 0 for one in rounded) else None


def equal(paths: tuple[Scalar, ...]) -> list[tuple[str, Fraction]]:
    """Every set with as much as the others, in millionths; they sum to one."""
    parts = [Fraction(10**6 // len(paths), 10**6)] * len(paths)
    parts[0] += 1 - sum(parts)
    return list(zip(map(str, paths), parts, strict=True))


def end(stage: Stage) -> int | None:
    """The step that a stage ends at, where it does anything."""
    first, last = first_step(stage), last_step(stage)
    return None if first is None or last is None or last <= first else last


def begin(stage: Stage) -> int:
    """The step that a stage begins at. Restored at or past its end it would train nothing: then it is read from 0."""
    first, last = first_step(stage), last_step(stage)
    return first if first is not None and (last is None or first < last) else 0


def step_tokens(stage: Stage) -> int:
    """Tokens of a step; of placeholders where they are unknown."""
    return (stage.count("batch") or BATCH) * (stage.count("context") or CONTEXT)


def steps(stage: Stage) -> int:
    """How many steps a stage makes; a placeholder where it is unknown."""
    last = last_step(stage)
    return STEPS if last is None or last <= begin(stage) else last - begin(stage)
