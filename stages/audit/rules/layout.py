"""How batches and models are divided over devices."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import rule, stage_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.recipe import Fault, Pipeline, Read, Stage, counted

_RANKS = ("tp", "pp", "ep")
_UNEVEN = tuple(f"uneven_{one}" for one in ("layout", "first", "last", "pattern", "override", "embedding", "loss"))


def _divides(stage: Stage, whole: str, parts: tuple[str, ...]) -> tuple[int, int] | None:
    """(whole, part) where both are known and the whole is no multiple of the part."""
    size, part = stage.count(whole), counted(stage.count(one) for one in parts)
    return (size, part) if size is not None and part and size % part else None


def _fault(stage: Stage, whole: str, parts: tuple[str, ...], found: tuple[int, int]) -> Fault:
    product = " x ".join(f"{part} {stage.count(part)}" for part in parts)
    return Fault(
        stage,
        stage.at(whole, *parts) if whole.startswith(("batch", "micro")) else stage.at(*parts, whole),
        f"{whole} {found[0]:,} over {product}",
        f"a multiple of {found[1]:,}",
        "the launch stops",
    )


@stage_rule("batch-indivisible", "I-43", "The batch is not whole micro-batches of every replica")
def batch(stage: Stage) -> Iterator[Fault]:
    """The global batch is a multiple of micro-batch times replicas; of the micro-batch alone, whatever the machines.

    Sizes in tokens are whole rows in OLMo-core; torchtitan packs rows into them.
    """
    if stage.framework in TRAINERS or not (stage.stated("batch") or stage.stated("batch_tokens")):
        return
    if stage.on("rounds_batch"):  # --decrease-batch-size-if-needed takes what is whole of it
        return
    pairs: list[tuple[str, tuple[str, ...]]] = []
    if stage.framework == "olmo-core":
        pairs += [("micro_tokens", ("context",)), ("batch_tokens", ("context",))]
    pairs += [("batch_tokens", ("micro_tokens",)), ("batch", ("micro_batch", "replicas"))]
    pairs += [("batch", ("micro_batch",))]
    for whole, parts in pairs:
        found = _divides(stage, whole, parts)
        if found is not None:
            yield _fault(stage, whole, parts, found)
            break


@stage_rule("devices-indivisible", "I-46", "The devices are not whole replicas")
def world(stage: Stage) -> Iterator[Fault]:
    """The number of devices is a multiple of tensor x pipeline x context parallel ranks."""
    parts = tuple(one for one in ("tp", "pp", "cp") if stage.count(one))
    found = _divides(stage, "world", parts) if parts else None
    if found is not None:
        yield _fault(stage, "world", parts, found)


@stage_rule("model-indivisible", "I-46", "The layout does not divide the model")
def model(stage: Stage) -> Iterator[Fault]:
    """Heads over tensor ranks, layers over pipeline ranks, experts over expert ranks, rows over context ranks."""
    pairs = (("heads", "tp"), ("layers", "pp"), ("experts", "ep"), ("hidden", "heads"), ("heads", "kv_heads"))
    megatron = stage.framework.startswith("megatron")
    even = megatron and not any(stage.get(one) for one in _UNEVEN)  # the others divide layers as they come
    for whole, part in pairs:
        if (whole == "hidden" and stage.stated("head_dim")) or (whole == "layers" and not even):
            continue
        found = _divides(stage, whole, (part,))
        if found is not None:
            yield _fault(stage, whole, (part,), found)
    context, cp = stage.count("context"), stage.count("cp")
    halves = 2 if megatron or stage.framework == "torchtitan" else 1  # a rank has a piece of each half of the row
    if context and cp and cp > 1 and context % (halves * cp):
        yield stage.fault(
            ("cp", "context"),
            f"rows of {context:,} over {cp} ranks",
            f"a multiple of {halves * cp}",
            "the launch stops",
        )


@rule("layout-changed", "I-46", "The checkpoint is divided for other ranks")
def layout_changed(pipeline: Pipeline) -> Iterator[Fault]:
    """Each file of the format `torch` is that of one rank: Megatron-LM's converter writes them, and --ckpt-format."""
    for stage in pipeline.stages:
        made = {one: stage.values[f"converted_{one}"] for one in _RANKS if f"converted_{one}" in stage.values}
        other = [one for one, value in made.items() if (stage.count(one) or 1) != value.value]
        if stage.framework == "megatron-lm" and other:
            yield _divided(stage, other, [made[one].value for one in other], str(made[other[0]].where))
    for edge in pipeline.edges:
        both = (edge.parent, edge.child)
        legacy = edge.parent.text("ckpt_format") == "torch" and all(one.framework == "megatron-lm" for one in both)
        other = [one for one in _RANKS if (edge.parent.count(one) or 1) != (edge.child.count(one) or 1)]
        if legacy and other and not any(one.on("partial") for one in both):
            yield _divided(edge.child, other, [edge.parent.count(one) for one in other], edge.parent.name)


def _divided(stage: Stage, other: list[str], before: list[Read], made: str) -> Fault:
    return stage.fault(
        other,
        ", ".join(f"{one} {stage.count(one) or 1}" for one in other),
        ", ".join(f"{value or 1}" for value in before) + f", as {made} has it",
        "the launch stops: each rank reads a file of its own",
        unless="the checkpoint was divided again in between",
    )
