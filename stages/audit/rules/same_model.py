"""Weights that a hand-over keeps: the sizes of the model, its positions and its precision are the parent's."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import edge_rule, rule
from stages.audit.loads import on_load
from stages.audit.recipe import Edge, Fault, Pipeline, Read, Stage, is_number
from stages.audit.released import begins_from, models
from stages.audit.rules.handover import differ
from stages.errors import Where

_SIZES = ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "experts", "expert_ffn", "vocab", "flavor",
          "tied", "kv_lora_rank", "qk_nope_dim", "qk_rope_dim", "v_head_dim")  # fmt: skip
_OUTPUTS = ("norm_eps", "experts_per_token", "routed_scale")  # no tensor has another shape by these
_SWITCHES = {
    "untied": "--untie-embeddings-and-output-weights", "gated": "--swiglu", "qk_norm": "--qk-layernorm",
    "qkv_bias": "--add-qkv-bias", "latent": "--multi-latent-attention",
}  # fmt: skip


@rule("model-changed", "I-06", "The model is not the parent's")
def model_changed(pipeline: Pipeline) -> Iterator[Fault]:
    """A figure of the architecture that a hand-over of weights keeps, of the nearest ancestor that states it."""
    for edge in pipeline.edges:
        yield from _other_sizes(edge.child, list(pipeline.ancestors(edge.child)))
        for name in _SWITCHES if _whole(edge) else ():
            if edge.parent.on(name) != edge.child.on(name):
                yield edge.child.fault(
                    name,
                    f"{_SWITCHES[name]} is {'on' if edge.child.on(name) else 'off'}",
                    f"{'on' if edge.parent.on(name) else 'off'}, as in {edge.parent.name}",
                    "the weights do not fit",
                )


def _other_sizes(stage: Stage, ancestors: list[Stage]) -> Iterator[Fault]:
    """One fault for each place: a model's name stands for several sizes."""
    names = (*_SIZES, *_OUTPUTS, *(["architecture"] if stage.framework == "olmo-core" else []))
    places: dict[tuple[Where, str | None], list[tuple[str, Stage]]] = {}
    for name in names:
        before = next((one for one in ancestors if one.stated(name)), None)
        if before is not None and stage.stated(name) and before.get(name) != stage.get(name):
            meant = "both have the same sizes" if name == "flavor" else "it is meant" if name in _OUTPUTS else None
            places.setdefault((stage.at(name), meant), []).append((name, before))
    for (where, meant), found in places.items():
        outputs = all(name in _OUTPUTS for name, _ in found)
        yield Fault(
            stage,
            where,
            ", ".join(f"{name} {stage.get(name)}" for name, _ in found),
            ", ".join(f"{before.get(name)}" for name, before in found) + f", as {found[0][1].name}",
            "the same weights compute something else" if outputs else "the weights do not fit",
            unless=meant,
        )


def _whole(edge: Edge) -> bool:
    """Whether both commands state their model, so that a switch which is not there is off."""
    both = (edge.parent, edge.child)
    return not edge.child.on("args_from_checkpoint") and all(
        one.framework == "megatron-lm" and one.stated("layers") and not one.on("partial") for one in both
    )


@edge_rule("rope-falls", "I-37", "The rotary base falls")
def rope_falls(edge: Edge) -> Iterator[Fault]:
    """What was learned at longer wavelengths is read at shorter ones."""
    old, new = edge.parent.number("rope_base"), edge.child.number("rope_base")
    if old is not None and new is not None and edge.parent.stated("rope_base") and new < old:
        origin = "the default" if not edge.child.stated("rope_base") else "stated"
        yield edge.child.fault(
            "rope_base",
            f"a base of {new:g} ({origin})",
            f"at least {old:g}",
            "positions are other than those learned",
            edge.child.count("tokens"),
            None if edge.child.stated("rope_base") else "the checkpoint's arguments are used",
        )


@edge_rule("rope-from-checkpoint", "I-12", "The file's rotary base is overwritten by the checkpoint's")
def rope_kept(edge: Edge) -> Iterator[Fault]:
    """Megatron's --use-checkpoint-args sets rotary_base from the checkpoint, whatever the file says."""
    if edge.child.on("args_from_checkpoint") and differ(edge.parent, edge.child, "rope_base"):
        yield edge.child.fault(
            "rope_base",
            f"a base of {edge.child.get('rope_base')}",
            f"{edge.parent.get('rope_base')}, the checkpoint's, which counts",
            "the longer context is trained with the old positions",
            edge.child.count("tokens"),
        )


@edge_rule("rope-scaling-dropped", "I-37", "The rotary positions are no longer scaled")
def scaling_dropped(edge: Edge) -> Iterator[Fault]:
    """A file of Megatron-LM or OLMo-core says the whole of its positions, so that what it leaves out is off."""
    scaled, kept = (_scalings(one) for one in (edge.parent, edge.child))
    olmo = all(one.framework == "olmo-core" and "architecture" in one.values for one in (edge.parent, edge.child))
    if scaled and not kept and (olmo or _whole(edge)):
        value = edge.parent.values[scaled[0]]
        yield Fault(
            edge.child,
            edge.child.where,
            f"no {value.key}",
            f"{value.key}, as {value.where} has it",
            "positions are other than those learned",
            edge.child.count("tokens"),
        )


def _scalings(stage: Stage) -> list[str]:
    """The figures by which positions are scaled."""
    more = (stage.number("rope_interpolation") or 1) > 1
    scalings = {
        "rope_llama3": stage.on("rope_llama3"),
        "rope_interpolation": more,
        "rope_type": "rope_type" in stage.values,
    }
    return [name for name, stated in scalings.items() if stated]


@rule("model-unlike-release", "I-06", "The model is not the one that it begins from")
def unlike_release(pipeline: Pipeline) -> Iterator[Fault]:
    """Sizes compared with those of the published model that the loaded folder is called after."""
    for stage in pipeline.stages:
        name = begins_from(stage) if pipeline.parent(stage) is None and on_load(stage) is not None else None
        if name is None or not stage.framework.startswith("megatron") or stage.on("partial"):
            continue
        for figure, value in models()[name].items():
            mine = _states(stage, figure)
            smaller = is_number(mine) and is_number(value) and mine < value
            if mine is None or (mine == value if figure != "rope_base" else not smaller):
                continue
            yield stage.fault(
                "untied" if figure == "tied" else figure,
                f"{figure} {mine}",
                f"{value}, as {name} has it",
                "positions are other than those learned" if figure == "rope_base" else "the weights do not fit",
                unless=f"the folder contains another model than {name}",
            )


def _states(stage: Stage, figure: str) -> Read:
    """A figure that a command says, or leaves to a default of Megatron-LM's that is a size too."""
    plain = stage.framework == "megatron-lm" and stage.stated("layers") and not stage.on("args_from_checkpoint")
    if figure == "tied":
        return stage.on("tied") if "tied" in stage.values else not stage.on("untied") if plain else None
    if figure == "kv_heads" and plain and not stage.on("grouped_queries"):
        return None if stage.stated("kv_heads") else stage.get("heads")  # flag-ignored
    return stage.get(figure) if stage.stated(figure) else None


@edge_rule("precision-changed", "I-21", "The model goes on in fp16 after bf16")
def precision(edge: Edge) -> Iterator[Fault]:
    """What was learned in bf16 may be larger than 65,504, which is fp16's largest number."""
    if edge.parent.on("bf16") and edge.child.on("fp16") and not edge.child.on("bf16"):
        yield edge.child.fault(
            "fp16",
            "fp16",
            f"bf16, as {edge.parent.name}",
            "activations and losses that bf16 can represent overflow",
            edge.child.count("tokens"),
            "the model's activations are known to be small",
        )
