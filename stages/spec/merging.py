"""A merge of several stages' weights: what they have to share, and how much of each is in it.

Shares are exact and sum to 1, and parents are in the order of their names: how a spec lists them changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import assert_never

from stages.errors import SpecError
from stages.spec.graph import parents
from stages.spec.hand_over import Node
from stages.spec.loader import LoadedStage
from stages.spec.points import stage_name
from stages.spec.resolved import Share, Stage
from stages.spec.schema.stages import RawMerge

SAME = ("modules", "rope", "tokenizer")  # what parents of a merge have in common


def shares(loaded: LoadedStage, raw: RawMerge, above: Mapping[str, Node]) -> tuple[Share, ...]:
    """How much of each parent, by "pipeline/stage". Raises SpecError where parents do not fit."""
    if len(above) < len(raw.init.from_):
        raise _twice(loaded)
    first, *others = above.items()
    for name, node in others:
        for field in SAME:
            if getattr(node.stage, field) != getattr(first[1].stage, field):
                raise loaded.document.error(
                    ("init", "from"), f"other {field} in {name} than in {first[0]}",
                    "parents with the same modules, rotary positions and tokenizer",
                    "Merge stages of one model: only their weights may differ.",
                )  # fmt: skip
    looped = {node.loops: name for name, node in above.items() if node.loops is not None}
    if len(looped) > 1:
        raise loaded.document.error(
            ("init", "from"), ", ".join(f"{count} loops in {name}" for count, name in looped.items()),
            "parents that were last trained with the same loops", "The result would have those of one of them.",
        )  # fmt: skip
    parts = _parts(loaded, raw, above)
    total = sum(parts.values())
    exact = {above[name].ref: part / total for name, part in parts.items()}
    if len({node.weights_of for node in above.values()}) < len(parts):
        raise _twice(loaded)
    return tuple(Share(parent=ref, part=exact[ref].as_integer_ratio()) for ref in sorted(exact))


def weights_of(stage: Stage, above: Iterable[Node]) -> str | None:
    """Whose last weights a stage hands on as they are: a `keep`, and an export that takes no average; else None."""
    as_they_are = stage.kind in ("keep", "export") and not any(init.average for init in stage.init.values())
    return next(iter(above)).weights_of if as_they_are else None


def all_differ(loaded: LoadedStage, done: Mapping[str, Node], keys: Mapping[str, str]) -> None:
    """Raise SpecError for a merge of two stages that have one key: one result, with the shares of both.

    `keys` are those of the stages in `done`, by their names in the pipeline.
    """
    above = parents(loaded) if isinstance(loaded.raw, RawMerge) else ()
    results = [keys[done[name].weights_of.rpartition("/")[2]] for name in above]
    if len(set(results)) < len(results):
        raise _twice(loaded)


def _twice(loaded: LoadedStage) -> SpecError:
    found = "the same stage under two names"
    return loaded.document.error(("init", "from"), found, "different stages", "Take one of them out.")


def _parts(loaded: LoadedStage, raw: RawMerge, above: Mapping[str, Node]) -> dict[str, Fraction]:
    """In proportion."""
    init = raw.init
    match init.weights:
        case "uniform":
            return {name: Fraction(1) for name in above}
        case "weighted":
            if set(init.shares) != set(init.from_):
                raise loaded.document.error(
                    ("init", "shares"), ", ".join(init.shares), ", ".join(init.from_), "Name what `from` names."
                )
            return {stage_name(name): share for name, share in init.shares.items()}
        case "ema":
            return _average(loaded, init.decay or Fraction(0), above)
        case _:
            assert_never(init.weights)


def _average(loaded: LoadedStage, decay: Fraction, above: Mapping[str, Node]) -> dict[str, Fraction]:
    """e = first; e = decay e + (1 - decay) next, over the checkpoints of one trunk in the order of their tokens."""
    trunks = {node.stage.trunk or node.ref for node in above.values()}
    if len(trunks) > 1 or any(not node.stage.phases for node in above.values()):
        raise loaded.document.error(
            ("init", "weights"), f"ema over {', '.join(sorted(trunks))}",
            "checkpoints of one stage that trains: `from: [a@1B, a@2B, a]`", "Write uniform or weighted.",
        )  # fmt: skip
    first, *later = sorted(above, key=lambda name: above[name].stage.budget)
    parts = {first: Fraction(1)}
    for name in later:
        parts = {one: decay * part for one, part in parts.items()} | {name: 1 - decay}
    return parts
