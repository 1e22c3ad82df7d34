"""A run that goes on: its steps, its optimizer, its tokenizer and template, and the data that it reads again."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.figures import batches_differ, first_step, last_step
from stages.audit.finding import edge_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.loads import on_load
from stages.audit.recipe import HOLE, Edge, Fault, Stage, counted

_UNCLIPPED = frozenset({"megatron-lm", "megatron-bridge", *TRAINERS})  # by a limit of 0
_MOMENTS = ("beta1", "beta2", "eps", "weight_decay")


def changed(edge: Edge, name: str) -> bool:
    """Whether a figure that the child states is known of both and another one."""
    old, new = edge.parent.get(name), edge.child.get(name)
    return old is not None and new is not None and old != new and edge.child.stated(name)


@edge_rule("step-size-changed", "I-02", "The step counter goes on over steps of another size")
def step_size(edge: Edge) -> Iterator[Fault]:
    """Batch or context is another one, and the length and the schedule count the parent's steps with the child's."""
    parent, child, loads = edge.parent, edge.child, on_load(edge.child)
    if loads is None or not loads.step or not first_step(child) or batches_differ(parent) or batches_differ(child):
        return
    last = last_step(child)
    if last is not None and last <= (first_step(child) or 0):
        return  # past-the-end
    counted_by_itself = child.stated("samples") or child.stated("budget_tokens")  # whatever a step is
    if counted_by_itself and parent.count("context") == child.count("context"):
        return
    old, new = _size(parent), _size(child)
    if old is None or new is None or old[0] == new[0] or old[1] != new[1]:
        return
    names = ("batch", "batch_tokens", "accumulation", "micro_batch", "world", "context")
    where = next((child.at(one) for one in names if changed(edge, one)), edge.where)
    yield Fault(
        child,
        where,
        f"{new[0]:,} {new[1]} a step from step {first_step(child):,} on",
        f"{old[0]:,}, as {parent.name}",
        f"a step of the schedule and of the length is {new[0] / old[0]:.3g} times what it was",
        unless="the length and the schedule were written for it",
    )


def _size(stage: Stage) -> tuple[int, str] | None:
    """What a step reads: tokens, else rows, else rows of a replica."""
    batch, context = stage.count("batch"), stage.count("context")
    if batch is not None:
        return (batch * context, "tokens") if context is not None else (batch, "rows")
    rows = counted([stage.count("micro_batch"), stage.count("accumulation")])
    return None if rows is None else (rows, "rows of every replica")


@edge_rule("optimizer-changed", "I-15", "The inherited state is that of another optimizer")
def optimizer(edge: Edge) -> Iterator[Fault]:
    """Betas, epsilon and decay are in the state's groups: torch's load_state_dict takes them from the checkpoint."""
    loads = on_load(edge.child)
    other = [one for one in _MOMENTS if changed(edge, one)] if loads is not None and loads.optimizer else []
    if loads is not None and loads.scheduler == "asserted":  # the scheduler has the decay: scheduler-refused
        other = [one for one in other if one != "weight_decay"]
    if other:
        yield edge.child.fault(
            other,
            edge.child.said(other),
            edge.parent.said(other) + f", as {edge.parent.name}",
            "the checkpoint's figures count, and the file's are ignored",
            unless="the framework sets them again after the load",
        )


@edge_rule("clip-dropped", "I-48", "Gradients are no longer clipped")
def clip_dropped(edge: Edge) -> Iterator[Fault]:
    """In Megatron and in transformers' Trainer a limit of 0 turns clipping off."""
    old, new = edge.parent.number("clip"), edge.child.number("clip")
    off = edge.child.framework in _UNCLIPPED
    if off and old and new == 0 and edge.child.stated("clip"):
        yield edge.child.fault(
            "clip",
            "a limit of 0, which is none",
            f"{old:g}, as {edge.parent.name}",
            "a single batch can move the weights without limit",
            unless="no clipping is meant",
        )


@edge_rule("tokenizer-changed", "I-41", "The tokenizer is not the parent's")
def tokenizer(edge: Edge) -> Iterator[Fault]:
    """The rows of the embedding belong to other words. Equal names in other folders are one tokenizer."""
    old, new = (one.folder("tokenizer") for one in (edge.parent, edge.child))
    names = sorted((one.rsplit("/", 1)[-1].lower() for one in (old, new)), key=len)
    if not old or not new or HOLE.search(old + new) or names[1].startswith(names[0]):  # `8B` and `8B-Instruct`
        return
    loaded = (edge.child.folder(one) for one in ("load", "pretrained"))
    if any(new.startswith(one) for one in (edge.parent.folder("save"), *loaded) if one):
        return  # that of the checkpoint
    yield edge.child.fault(
        "tokenizer",
        new,
        f"{old}, as {edge.parent.name}",
        "the embeddings belong to other tokens",
        edge.child.count("tokens"),
        "both have the same ids",
    )


@edge_rule("template-changed", "I-20", "The chat template is not the parent's")
def template(edge: Edge) -> Iterator[Fault]:
    """Of two runs that are both tuned on answers."""
    if edge.parent.get("objective") != "pt" and edge.child.get("objective") != "pt" and changed(edge, "template"):
        yield edge.child.fault(
            "template",
            f"template {edge.child.get('template')}",
            f"{edge.parent.get('template')}, as {edge.parent.name}",
            "answers are prompted for in other words than they were learned with",
            unless="both write the same text",
        )


@edge_rule("data-repeated", "I-18", "The parent's data is read again from its beginning")
def repeated(edge: Edge) -> Iterator[Fault]:
    """The same sets, shares and seed, and a launch that does not restore how far they were read."""
    parent, child, loads = edge.parent, edge.child, on_load(edge.child)
    if loads is None or loads.data or child.on("mock_data") or _objective(parent) != _objective(child):
        return
    skipped = child.on("ignore_data_skip")
    same = _mixture(parent) == _mixture(child) and parent.get("seed") == child.get("seed")
    shuffled = child.framework != "torchtitan"  # which reads its sets as they come
    unknown = (_mixture(child) is None and not skipped) or (child.get("seed") is None and shuffled)
    if not same or unknown:
        return
    seed = f" with its seed {child.get('seed')}" if shuffled else ""
    sizes = [one for one in (parent.count("tokens"), child.count("tokens")) if one is not None]
    yield Fault(
        child,
        child.at("ignore_data_skip", "data", "seed") if skipped else child.at("data", "seed"),
        f"the data of {parent.name}{seed} ({loads.when})",
        "other data, another seed, or the place at which the parent stopped",
        "what the parent read first is read a second time, in its order where rows are as long",
        min(sizes) if len(sizes) == 2 else None,
        "other data has the same name" if not skipped else "the data is another",
    )


def _objective(stage: Stage) -> object:
    return stage.get("objective")


def _mixture(stage: Stage) -> object:
    paths, weights = stage.get("data"), stage.get("data_weights")
    if not isinstance(paths, tuple) or any(name.startswith("data_from_") for name in stage.values):
        return None
    shares = weights if isinstance(weights, tuple) and len(weights) == len(paths) else (1,) * len(paths)
    return tuple(sorted(zip(map(str, paths), map(str, shares), strict=True)))
