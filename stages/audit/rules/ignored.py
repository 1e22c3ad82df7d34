"""Settings that nothing reads, since the one that they belong to is off; and rows whose documents see one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.audit.finding import rule, stage_rule
from stages.audit.frameworks import TRAINERS
from stages.audit.recipe import Fault, Pipeline, Stage


@dataclass(frozen=True)
class Idle:
    """A case in which a figure has no effect: what it needs, and what counts instead."""

    frameworks: tuple[str, ...]
    figures: tuple[str, ...]
    case: Callable[[Stage], bool]
    needs: str
    instead: str
    unless: str | None = None


def _silent(stage: Stage, switch: str) -> bool:
    """Whether a whole command leaves a switch out."""
    return not (stage.on(switch) or stage.on("partial") or stage.on("args_from_checkpoint"))


_WHOLE = "all weights are meant, and the figure is left over"
IDLE = (
    Idle(("megatron-lm",), ("kv_heads",), lambda one: _silent(one, "grouped_queries") and not one.on("latent")
         and one.count("kv_heads") != one.count("heads"),
         "--group-query-attention", "every head has keys and values of its own"),
    Idle(("megatron-lm",), ("rope_factor",), lambda one: _silent(one, "rope_llama3"), "--use-rope-scaling",
         "positions are not scaled"),
    Idle(("megatron-lm",), ("wsd_steps", "wsd_samples"), lambda one: not one.on("partial") and one.text("decay")
         is not None and str(one.text("decay")).upper() != "WSD",
         "--lr-decay-style WSD", "the decay has the whole length"),
    Idle(("axolotl",), ("adapter_rank",), lambda one: "adapter" not in one.values,
         "adapter: lora", "all weights are trained", _WHOLE),
    Idle(("llama-factory",), ("adapter_rank",), lambda one: one.stated("tuning") and one.get("tuning") == "full",
         "finetuning_type: lora", "all weights are trained", _WHOLE),
    Idle(("transformers",), ("adapter_rank",), lambda one: one.get("peft") is False,
         "use_peft: true", "all weights are trained", _WHOLE),
    Idle(TRAINERS, ("warmup_steps", "warmup_fraction"), lambda one: one.text("scheduler") == "constant",
         "lr_scheduler_type constant_with_warmup", "the rate is at its peak from the first step on"),
)  # fmt: skip


@stage_rule("flag-ignored", "I-05", "A setting that nothing reads")
def ignored(stage: Stage) -> Iterator[Fault]:
    """Every case of the table."""
    for one in IDLE:
        figure = next((name for name in one.figures if stage.stated(name) and stage.get(name)), None)
        if figure is None or stage.framework not in one.frameworks or not one.case(stage):
            continue
        value = stage.values[figure]
        yield Fault(stage, value.where, f"{value.key} {value.value}", one.needs, one.instead,
                    stage.count("tokens"), one.unless)  # fmt: skip


@rule("documents-mixed", "I-19", "Documents of one row see one another")
def mixed(pipeline: Pipeline) -> Iterator[Fault]:
    """Packed answers without a mask between them, or a mask that the run before had."""
    for stage in pipeline.stages:
        without = _packed_without(stage)
        if without is not None:
            yield stage.fault(
                (without, "packing"),
                f"packed rows with {stage.values[without].key} {stage.get(without)}",
                "neat_packing: true" if stage.framework == "llama-factory" else "a flash attention",
                "an answer is trained on what stands before it in its row",
                stage.count("tokens"),
                "it is meant",
            )
    for edge in pipeline.edges:
        both = (edge.parent, edge.child)
        whole = all(
            one.framework == "megatron-lm" and not one.on("partial") and one.get("objective") != "sft" for one in both
        )
        if whole and edge.parent.on("document_mask") and not edge.child.on("document_mask"):
            yield Fault(
                edge.child,
                edge.child.where,
                "no --reset-attention-mask",
                f"the mask of {edge.parent.name} ({edge.parent.at('document_mask')})",
                "documents see what stands before them in their row, which they did not before",
                edge.child.count("tokens"),
                "its rows are one document each",
            )


def _packed_without(stage: Stage) -> str | None:
    """The figure by which packed answers have no mask between them: of the attention, or of the packing."""
    if not stage.on("packing") or stage.get("objective") not in {"sft", None}:
        return None
    if stage.framework == "llama-factory":
        return "neat_packing" if stage.get("neat_packing") is False and stage.get("objective") == "sft" else None
    attention = stage.text("attention") if stage.framework == "transformers" else None
    wrapped = stage.text("packing_strategy") == "wrapped"
    return "attention" if attention is not None and "flash" not in attention and not wrapped else None
