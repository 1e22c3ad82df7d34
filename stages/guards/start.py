"""Guards before step 1: learning rates, rotary frequencies, restored weights and moments, what takes a gradient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from stages.check.findings import Finding
from stages.contract import numbers, rope, schedule
from stages.guards.findings import differing, finding, some
from stages.guards.report import BuiltReport, Digests
from stages.spec.language_model import LanguageModel
from stages.spec.numbers import OF_GROUP, OF_OPTIMIZER
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Model

FACTOR = 1e-6  # relative, by which a factor that is read from a table in fp32 may differ
ULP = 2  # fp32 units in the last place by which a frequency may differ: two roundings
_EXPERT = re.compile(r"(?P<head>.*\.mlp)\.experts\.\d+\.(?P<tail>\w+_proj\.weight.*)")
_ROUTER = re.compile(r".*\.mlp\.gate\.(weight|e_score_correction_bias)")
_LAYER = re.compile(r"(?P<head>(?:.*\.)?layers)\.(?P<layer>\d+)\.(?P<tail>.*)")


def learning_rates(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-01, I-02: every parameter group takes the schedule's rate at the first step, however often it is called."""
    if stage.schedule is None or not stage.phases:
        return
    expected = schedule.lr(stage.schedule, report.clock)
    for id, rates in (("I-01", report.rates), ("I-02", report.again)):
        wrong = {group: rate for group, rate in rates.items() if rate != expected * _multiplier(stage, group)}
        if wrong or not rates:
            yield finding(
                stage, id, at="schedule", observed=f"rates {some(wrong)} at clock {report.clock:,}",
                expected=f"{expected!r} (times a group's `lr`) for every group of parameters, as often as it is called",
                repair="Take the rate from the schedule at each step; keep none from a checkpoint.",
            )  # fmt: skip
    for name, number in numbers.at(stage, stage.phases[0], report.clock).items():
        if name in OF_OPTIMIZER and report.numbers.get(name) != number:
            yield finding(
                stage, "I-01", at="optimizer", observed=f"{name} {report.numbers.get(name)} at clock {report.clock:,}",
                expected=f"{number!r}, as its schedule says", repair="Read the schedule at the consumed tokens.",
            )  # fmt: skip


def _multiplier(stage: Stage, rated: str) -> float:
    """What a group of the optimizer makes of the schedule's rate: rates of "llm of embeddings" are its."""
    named = rated.partition(OF_GROUP)[2]
    groups = stage.optimizer.groups if stage.optimizer is not None else None
    return next((group.lr for group in groups or () if group.name == named), 1.0)


def frequencies(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-11, I-12, I-13: rotary frequencies read from the built model are those of the spec, within 2 ulp in fp32."""
    for name, module in report.modules.items():
        dim = rotary_dim(stage.modules[name])
        if dim is None or stage.rope is None:
            continue
        expected = np.array(rope.inv_freq(stage.rope, dim), dtype=np.float32)
        found = np.array(module.frequencies or (), dtype=np.float32)
        if found.shape == expected.shape and np.all(np.abs(found - expected) <= ULP * np.spacing(expected)):
            yield from _factors(stage, name, module.factors)
            continue
        yield finding(
            stage, _rope_id(stage, found, dim), at=name,
            observed=f"module {name}: {len(found)} frequencies, slowest {found.min() if len(found) else 'none'}",
            expected=f"{len(expected)}, slowest {expected.min()} (base {stage.rope.base:g})",
            repair="Build the rotary tables after the parent's configuration is read, from this stage's `rope`.",
        )  # fmt: skip


def _factors(stage: Stage, name: str, found: tuple[float, float]) -> Iterator[Finding]:
    assert stage.rope is not None
    expected = rope.attention_factor(stage.rope), rope.score_factor(stage.rope)
    if not np.allclose(found, expected, rtol=FACTOR, atol=0):
        yield finding(
            stage, "I-13", at=name,
            observed=f"module {name}: queries and keys times {found[0]:g}, scores times {found[1]:g}",
            expected=f"times {expected[0]:g} and {expected[1]:g}",
            repair="Give the model YaRN's attention factor with its frequencies, from this stage's `rope`.",
        )  # fmt: skip


def restored(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-15, I-31: inherited weights and moments are the parent's, bit for bit, through the layer map."""
    for name, module in report.modules.items():
        init = stage.init[name]
        if init.weights in ("inherit", "upcycle"):
            id = "I-31" if init.weights == "upcycle" else "I-15"
            yield from _differing(stage, id, "weights", name, module.weights, module.parent_weights, init)
        if init.optimizer == "inherit" and stage.kind != "export" and (name in stage.trained or not stage.phases):
            yield from _differing(stage, "I-15", "moments", name, module.moments, module.parent_moments, init)
            if not module.moments_moved:
                yield finding(
                    stage, "I-15", observed=f"moments of {name} that are all zero", at=name, edge=init.parent,
                    expected="the parent's moments", repair="Write `optimizer: reset`, or load them after the model.",
                )  # fmt: skip


def gradients(stage: Stage, report: BuiltReport) -> Iterator[Finding]:
    """I-34, before the first step: trained modules take a gradient, and no other does."""
    for name, module in report.modules.items():
        trained = name in stage.trained
        if stage.phases and trained != bool(module.takes_gradient):
            yield finding(
                stage, "I-34", at=name,
                observed=f"{module.takes_gradient} of {module.parameters} parameters of {name} train",
                expected="some" if trained else "none", repair="Freeze exactly what `trained` does not name.",
            )  # fmt: skip


def rotary_dim(cfg: Model) -> int | None:
    """How many dimensions of a head are rotated; None for what is no language model."""
    return cfg.parts.rotated if isinstance(cfg, LanguageModel) else None


def mapped(parent: Digests, child: Digests, layer_map: tuple[int, ...] | None, experts: bool) -> dict[str, str]:
    """The parent's digests under the names of the child: layer i is the parent's layer_map[i], the rest keeps its name.

    With `experts`, each expert is the parent's feed-forward part, and routers are left out: they are new.
    Written apart from the code that upcycles: it must not repeat that code's mistakes.
    """
    if layer_map is None:
        return dict(parent)
    if experts:
        return {
            name: parent.get(f"{one['head']}.{one['tail']}" if (one := _EXPERT.fullmatch(name)) else name, "nothing")
            for name in child
        }
    expected = {}
    for name in child:
        match = _LAYER.fullmatch(name)
        source = name
        if match is not None and int(match["layer"]) < len(layer_map):
            source = f"{match['head']}.{layer_map[int(match['layer'])]}.{match['tail']}"
        expected[name] = parent.get(source, "nothing")
    return expected


def _differing(
    stage: Stage, id: str, what: str, module: str, found: Digests, parent: Digests | None, init: Init
) -> Iterator[Finding]:
    if init.experts is not None:
        found = {name: one for name, one in found.items() if not _ROUTER.fullmatch(name)}
    expected: Mapping[str, str] = mapped(parent or {}, found, init.layer_map, init.experts is not None)
    wrong = differing(expected, found)
    if wrong or not expected:
        yield finding(
            stage, id, at=module, edge=init.parent,
            observed=f"{what} of {module}: {len(wrong)} of {len(expected)} tensors differ {some(wrong)}",
            expected="what the parent left, bit for bit" + (" through the layer map" if init.layer_map else ""),
            repair="Load after everything that initialises, and load by name.",
        )  # fmt: skip


def _rope_id(stage: Stage, found: np.ndarray, dim: int) -> str:
    """I-13 where only the scaling is missing, I-11 for another base."""
    assert stage.rope is not None
    unscaled = np.array(
        rope.inv_freq(stage.rope.model_copy(update={"llama3": None, "interpolation": 1.0, "yarn": None}), dim)
    )
    plain = found.shape == unscaled.shape and np.allclose(found, unscaled, rtol=1e-6)
    if plain and rope.is_scaled(stage.rope):
        return "I-13"
    return "I-12" if any(init.weights == "inherit" for init in stage.init.values()) else "I-11"
