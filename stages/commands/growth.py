"""What `stages show` says of a model that grows: layers, experts, parameters, and how many tokens it has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from stages.contract.parameters import parameters
from stages.report.number_format import count
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Model


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
        f"feed-forward part, of which a token takes {mixture.active}; routers are drawn anew, with deviation "
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
