"""Positions along a lineage: none turns faster again, none slower without a longer context (I-37)."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.rope import described, rotary_dim, with_positions, wrong_positions
from stages.check.rules.yarn import rescaled
from stages.contract.rope import inv_freq
from stages.spec.graph import reached
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope

ROUNDING = 1e-9  # of two frequencies that come out of the same figures


@static(
    "I-37",
    title="Positions and the declared context do not go back",
    rule="Along a lineage no rotary wavelength falls (by a smaller base, less interpolation, scaling taken away or "
    "narrowed), and the declared context never shrinks. A shorter sequence length under the same positions is neither. "
    "Where one rises, this stage or one that goes on from it is trained at more than the parent's context. The "
    "original length of llama3 scaling and of YaRN stays; YaRN's is the parent's longest context where the parent has "
    "none.",
    why="A stage copied from before an extension brings the old base back: what the lineage learned of long contexts "
    "is lost, and short evaluations do not show it. A base with a digit too many is learned again for nothing.",
    threads=("unslothai/unsloth#7028", "JIA-Lab-research/LongLoRA#81"),
)
def positions_do_not_go_back(context: Context) -> Iterator[Finding]:
    """I-37. Stages that do not train keep their parent's positions (I-13); figures are those of full size."""
    for name, stage, rope, dim in with_positions(context):
        for ref, parent in context.parents(stage) if stage.kind == "train" else ():
            yield from _going_back(context, name, rope, dim, ref, parent)


def _going_back(context: Context, name: str, rope: Rope, dim: int, ref: str, parent: Stage) -> Iterator[Finding]:
    """How a stage's positions, of `dim` dimensions of a head, go back behind its parent's, where they do."""
    stage = context.pipeline.stages[name]
    above = rotary_dim(parent)
    if above is None or parent.rope is None or parent.rope == rope:
        return
    if wrong_positions(parent.rope, above) or wrong_positions(rope, dim) or rescaled(parent.rope, rope):
        return  # I-11 or I-12 names it
    old, new = _told_apart(*(_at_full_size(context, one) for one in (parent.rope, rope)))
    if _any_faster(inv_freq(parent.rope, above), inv_freq(rope, dim)):
        yield context.finding(
            "I-37", name, ("rope",), parent=ref, observed=f"{new}, after {old}",
            expected="no pair of dimensions that turns faster than in the parent",
            repair="State the parent's base, llama3, interpolation and yarn, or larger ones.",
        )  # fmt: skip
    elif rope.llama3 and parent.rope.llama3 and rope.llama3.original != parent.rope.llama3.original:
        yield context.finding(
            "I-37", name, ("rope",), parent=ref, observed=f"{new}, after {old}",
            expected="the parent's `llama3.original`: the length before all extensions",
            repair="State the parent's `original`; extend by factor, base or interpolation.",
        )  # fmt: skip
    elif parent.rope.llama3 and not rope.llama3 and not rope.yarn and rope.base == parent.rope.base:
        yield context.finding(
            "I-37", name, ("rope", "llama3"), parent=ref, observed=f"{new}, after {old}",
            expected="the parent's `llama3`, or `yarn` or a larger base in its place",
            repair="State the parent's `llama3`: an interpolation comes on top of it.",
        )  # fmt: skip
    elif rope.yarn and (wanted := _original(parent.rope, parent)) != rope.yarn.original:
        yield context.finding(
            "I-37", name, ("rope", "yarn", "original"), parent=ref, observed=f"{new}, after {old}",
            expected=f"{int(context.full_context(wanted)):,}: the length before all extensions",
            repair="State that length; how far it is extended is the factor's to say.",
        )  # fmt: skip
    elif stage.max_context < parent.max_context:
        before, after = (context.full_context(one.max_context) for one in (parent, stage))
        yield context.finding(
            "I-37", name, ("rope",), parent=ref,
            observed=f"a declared context that shrinks from {int(before):,} to {int(after):,}: under {new}, "
            "after " + old + ", nothing longer is trained",
            expected=f"at least {int(before):,}", found=(before, after),
            repair="Keep the parent's positions, or train at its context under the new ones.",
        )  # fmt: skip
    elif _longest_under(context, name, rope) <= parent.max_context:
        longest = int(context.full_context(parent.max_context))
        yield context.finding(
            "I-37", name, ("rope",), parent=ref,
            observed=f"{new}, after {old}, where neither this stage nor one after it is trained at more than "
            f"the parent's {longest:,} positions",
            expected="the parent's positions, or a longer context under the new ones",
            repair="State the parent's positions, or waive this with what slower ones are for.",
            found=f"{new}, after {old}",
        )  # fmt: skip


def _longest_under(context: Context, name: str, rope: Rope) -> int:
    """The longest declared context of a stage and of those that go on from it under the same positions."""
    stages, refs = context.pipeline.stages, context.pipeline.refs

    def below(name: str) -> list[str]:
        return [one for one, stage in stages.items() if refs[name] in stage.needed and stage.rope == rope]

    return max(stages[one].max_context for one in reached([name], below))


def _original(rope: Rope, parent: Stage) -> int:
    """The length from which YaRN extends a parent's context."""
    return rope.yarn.original if rope.yarn else parent.max_context


def _any_faster(before: list[float], after: list[float]) -> bool:
    """Whether a pair turns faster than it did: positions move together there."""
    return any(new > old * (1 + ROUNDING) for old, new in zip(before, after, strict=False))


def _told_apart(before: Rope, after: Rope) -> tuple[str, str]:
    """Both in a few words, with the figures of their scaling that differ where those words are the same."""
    old, new = described(before), described(after)
    for one, other in ((before.llama3, after.llama3), (before.yarn, after.yarn)):
        if old == new and one is not None and other is not None:
            was, now = one.model_dump(), other.model_dump()
            differ = [key for key in was if was[key] != now[key]]
            old, new = (
                f"{text}, " + ", ".join(f"{key} {_written(figures[key])}" for key in differ)
                for text, figures in ((old, was), (new, now))
            )
    return old, new


def _written(figure: float | bool | None) -> str:
    """As a spec has it."""
    if figure is None or isinstance(figure, bool):
        return "none" if figure is None else str(figure).lower()
    return f"{figure:g}"


def _at_full_size(context: Context, rope: Rope) -> Rope:
    """The positions as they are written: base and original length shrink with the context."""
    llama3 = rope.llama3 and rope.llama3.model_copy(
        update={"original": int(context.full_context(rope.llama3.original))}
    )
    yarn = rope.yarn and rope.yarn.model_copy(update={"original": int(context.full_context(rope.yarn.original))})
    base = rope.base * float(context.full_context(1))
    return rope.model_copy(update={"base": base, "llama3": llama3, "yarn": yarn})
