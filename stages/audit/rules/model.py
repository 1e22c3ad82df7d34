"""Rotary positions, contexts, precision and regularisation of one run."""

from __future__ import annotations

from collections.abc import Iterator

from stages.audit.finding import edge_rule, stage_rule
from stages.audit.recipe import Edge, Fault, Stage
from stages.contract.rope import longest_wavelength
from stages.spec.resolved_models import Llama3Scaling, Rope

MARGIN = 16  # rows in the slowest wavelength: bases that were raised for a context have ten to a hundred of it
LARGEST_HEAD = 4096  # no model has one of this size; the slowest wavelength grows with it towards 2 pi times the base


def rope(stage: Stage) -> Rope | None:
    """The rotary positions of a stage, None where they are not stated or scaled in a way that is not modelled."""
    base = stage.number("rope_base")
    if (
        base is None
        or not stage.stated("rope_base")
        or base <= 1
        or stage.text("rope_type") not in {None, "linear", "llama3"}
    ):
        return None
    llama3 = None
    if stage.on("rope_llama3") or stage.text("rope_type") == "llama3":
        original = stage.count("rope_original") or 8192
        llama3 = Llama3Scaling(factor=stage.number("rope_factor") or 8.0, low=1.0, high=4.0, original=original)
    interpolation = stage.number("rope_interpolation") or 1.0
    if stage.text("rope_type") == "linear":
        interpolation = stage.number("rope_factor") or interpolation
    return Rope(base=base, llama3=llama3, yarn=None, interpolation=interpolation)


def slowest(stage: Stage) -> float | None:
    """The slowest rotary wavelength in tokens; None where the base is not stated, or scaled in a way not modelled.

    Where the size of a head is not known, that of the largest: the real one is shorter.
    """
    positions, dim = rope(stage), stage.count("head_dim")
    if positions is None or (dim is not None and (dim <= 0 or dim % 2)):
        return None
    return longest_wavelength(positions, LARGEST_HEAD if dim is None else dim)


@stage_rule("positions-short", "I-29", "Rows are longer than the positions that the model has")
def positions(stage: Stage) -> Iterator[Fault]:
    """Megatron asserts the opposite; others index past a table, or export a context that was never trained."""
    most, context = stage.count("max_positions"), stage.count("context")
    if most is not None and context is not None and most < context and stage.text("rope_type") is None:
        asserts = stage.framework.startswith("megatron")
        yield stage.fault(
            "max_positions",
            f"rows of {context:,} with {most:,} positions",
            f"at least {context:,}",
            "the launch stops at an assertion" if asserts else "the model says that it has fewer than it is trained on",
            unless=None if asserts else "the figure is written again before the model is used",
        )


@stage_rule("context-past-rope", "I-29", "The slowest rotary wavelength is shorter than a row")
def wavelength(stage: Stage) -> Iterator[Fault]:
    """Positions repeat within a row: two places of the text cannot be distinguished."""
    longest, context = slowest(stage), stage.count("context")
    if longest is not None and context is not None and longest < context:
        yield stage.fault(
            ("rope_base", "context"),
            f"a wavelength of {longest:,.0f} in rows of {context:,}",
            f"at least {context:,}",
            "positions repeat within a row",
            stage.count("tokens"),
        )


@edge_rule("rope-stays", "I-29", "Rows grow, and the rotary base does not")
def stays(edge: Edge) -> Iterator[Fault]:
    """Four times the rows or more at the base of the shorter ones, unless that was chosen for far longer ones."""
    parent, child = edge.parent, edge.child
    old, new = parent.count("context"), child.count("context")
    scaled = [one for one in ("rope_type", "rope_factor", "rope_interpolation", "rope_llama3", "rope_scaling")
              if one in child.values]  # fmt: skip
    stated = child.stated("rope_base") and parent.stated("rope_base") and not scaled
    if not (old and new and stated and new >= 4 * old and parent.get("rope_base") == child.get("rope_base")):
        return
    longest = slowest(child)
    if longest is not None and new <= longest < MARGIN * new:
        yield child.fault(
            "rope_base",
            f"a base of {child.get('rope_base')} in rows of {new:,}, as in rows of {old:,}; its slowest wavelength"
            f" is {longest:,.0f}",
            "a larger base, or scaled positions",
            "distances that were never learned are most of those in a row",
            child.count("tokens"),
            "positions are scaled by what the file does not say",
        )


@stage_rule("precision-twice", "I-21", "Two precisions, or a loss scale that nothing uses")
def precision(stage: Stage) -> Iterator[Fault]:
    """bf16 and fp16 exclude one another; a loss scale is for fp16."""
    if stage.on("bf16") and stage.on("fp16"):
        yield stage.fault("fp16", "bf16 and fp16", "one of the two", "the launch stops at an assertion")
    for name in ("loss_scale", "initial_loss_scale"):
        if stage.on("bf16") and stage.stated(name):
            yield stage.fault(
                name,
                f"a loss scale {stage.get(name)} with bf16",
                "none",
                "the figure has no effect",
                unless="the framework's fork scales losses in bf16",
            )


@stage_rule("dropout-default", "I-05", "Dropout comes from the framework's default")
def dropout(stage: Stage) -> Iterator[Fault]:
    """Megatron's default is 0.1 for both kinds: a recipe that is silent trains with it."""
    silent = [one for one in ("attention_dropout", "hidden_dropout") if one in stage.values and not stage.stated(one)]
    if stage.framework == "megatron-lm" and silent and stage.stated("lr"):
        names = " and ".join(one.replace("_", " ") for one in silent)
        yield Fault(
            stage,
            stage.where,
            f"no {names}; the default is 0.1",
            "the figure in the recipe",
            "a tenth of the activations is dropped",
            stage.count("tokens"),
            "dropout of 0.1 is meant, or the checkpoint's arguments are used",
        )
