"""What a stage is handed by its parents, in words: weights and optimizer state, clock, data, rotary positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import assert_never

from stages.contract import numbers
from stages.contract.parameters import parameters
from stages.contract.rope import attention_factor, score_factor
from stages.report.number_format import count, length
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Model, Rope


def hand_over(stage: Stage, stages: Mapping[str, Stage]) -> Iterator[tuple[str, str]]:
    """What is handed over: weights and optimizer state by module, clock, data, rotary positions."""
    yield from grown(stage, stages)
    if stage.merge is not None:
        yield "merge", ", ".join(f"{one.parent} {float(Fraction(*one.part)):.4g}" for one in stage.merge)
    if stage.trunk is not None:
        yield "point", f"{stage.trunk} after so many of its steps, made from a checkpoint that it keeps; no training"
    for module, init in stage.init.items():
        moves = "" if module in stage.trained or not stage.phases else "; frozen here"
        yield module, f"{stage.modules[module].family}: {weights(init)}{moves}"
    if stage.phases:
        yield "clock", clock(stage)
        yield "data", f"read {data(stage)}"
    for parent in stage.parents:
        for name, (ended, begun) in numbers.edge(stages[parent], stage).items():
            yield name, f"{ended:g} at the end of {parent}, {begun:g} from here on"
    if stage.rope is not None:
        before = [stages[parent].rope for parent in stage.parents if stages[parent].rope is not None]
        was = f"; before: {_rope(before[0])}" if before and before[0] and before[0] != stage.rope else ""
        yield "RoPE", f"{_rope(stage.rope)}{was}; contexts up to {length(stage.max_context)}"


def clock(stage: Stage) -> str:
    """Where the count of consumed units begins."""
    match stage.clock:
        case "continue":
            return f"goes on at {count(stage.phases[0].clock_start)} {stage.phases[0].unit}"
        case "reset":
            return "starts at zero"
        case _:
            assert_never(stage.clock)


def data(stage: Stage) -> str:
    """Where corpora are read from."""
    match stage.data:
        case "continue":
            return "from where its ancestors stopped"
        case "restart":
            return "from the start of its corpora"
        case _:
            assert_never(stage.data)


def weights(init: Init) -> str:
    """A module's weights and optimizer state."""
    state = "optimizer state too" if init.optimizer == "inherit" else "a new optimizer state"
    match init.weights:
        case "inherit":
            what = "the average of the weights, kept by `ema`," if init.average else "weights"
            return f"{what} from {init.parent}, {state}"
        case "upcycle" if init.experts is not None:
            how = "each expert a copy of its layer's feed-forward part, routers drawn at random"
            return f"weights from {init.parent}, {how}, {state}"
        case "upcycle":
            return f"weights from {init.parent}, its layers copied as {list(init.layer_map or ())}, {state}"
        case "merge":
            return "an average of its parents' weights, a new optimizer state"
        case "release":
            return f"the released {init.release}"
        case "fresh":
            return f"fresh weights, standing in for {init.release or 'a release'}" if init.stand_in else "fresh weights"
        case _:
            assert_never(init.weights)


def _rope(rope: Rope) -> str:
    scaling = f", llama3 scaling by {rope.llama3.factor:g} from {length(rope.llama3.original)}" if rope.llama3 else ""
    interpolated = f", interpolated {rope.interpolation:g} times" if rope.interpolation != 1 else ""
    return f"base {rope.base:,.8g}{scaling}{interpolated}{_yarn(rope)}"


def _yarn(rope: Rope) -> str:
    if rope.yarn is None:
        return ""
    scores = f", scores times {score_factor(rope):.4g}" if rope.yarn.mscale_all_dim is not None else ""
    size = f"queries and keys times {attention_factor(rope):.4g}{scores}"
    return f", YaRN by {rope.yarn.factor:g} from {length(rope.yarn.original)}, {size}"


def grown(stage: Stage, stages: Mapping[str, Stage]) -> Iterator[tuple[str, str]]:
    """One entry for each module whose layers are copied from a smaller model."""
    for module, init in stage.init.items():
        if init.layer_map is None or init.parent is None or init.parent not in stages:
            continue
        before, after = stages[init.parent].modules[module], stage.modules[module]
        seen = _seen(stages, init.parent, module)
        seen_before = f"{count(seen) if seen else 'no'} tokens seen before, by the smaller model"
        if init.experts is not None:
            yield "grows", f"{_routed(module, before, after, stage.seed)}; {seen_before}"
            continue
        copies = Counter(init.layer_map)
        often = ", ".join(f"{_ranges(copies, number)} {_times(number)}" for number in sorted(set(copies.values())))
        yield (
            "grows",
            f"{module}: {count(parameters(before).total)} -> {count(parameters(after).total)} parameters, "
            f"{max(init.layer_map) + 1} -> {len(init.layer_map)} layers: copied {often}; "
            f"{seen_before}",
        )


def _routed(module: str, before: Model, after: Model, seed: int) -> str:
    """Parameters in all, and those that a token passes through, of both models."""
    assert isinstance(after, LanguageModel), "a model with experts"
    mixture, was, is_now = after.parts.mixture, parameters(before), parameters(after)
    assert mixture is not None, "a model with experts"
    return (
        f"{module}: {count(was.total)} -> {count(is_now.total)} parameters, {count(was.active)} -> "
        f"{count(is_now.active)} of them active; in each of {after.layers} layers {mixture.experts} copies of the "
        f"feed-forward part, of which a token takes {mixture.active}; routers are drawn at random, with deviation "
        f"{after.init_std:g} and seed {seed}"
    )


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _ranges(copies: Mapping[int, int], number: int) -> str:
    """Layers that are copied so often: layers 0-7 24-31."""
    found: list[list[int]] = []
    for layer in sorted(layer for layer, often in copies.items() if often == number):
        if found and found[-1][-1] == layer - 1:
            found[-1].append(layer)
        else:
            found.append([layer])
    which = " ".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in found)
    return f"layer{'s' * (which not in map(str, copies))} {which}"


def _seen(stages: Mapping[str, Stage], ref: str | None, module: str) -> int:
    """Ledger units that trained a module, from a stage up along the module's own edges: what several stages of a merge
    have in common is counted once, and a point with its trunk.
    """
    waiting, trained = [ref], dict[str, int]()
    for one in waiting:
        stage = stages.get(one or "")
        if stage is None or one is None:
            continue
        if module in stage.trained:
            trunk = stage.trunk or one
            trained[trunk] = max(trained.get(trunk, 0), stage.budget)
        init = stage.init.get(module)
        above = stage.parents if stage.merge is not None else () if init is None else (init.parent,)
        waiting += [parent for parent in above if parent not in waiting]
    return sum(trained.values())
