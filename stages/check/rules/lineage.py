"""What a lineage is for, and which of two versions of a module it takes: I-37, I-38, I-40."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.early_fine_tuning import early_fine_tuning
from stages.check.rules.equal_stages import equal_stages
from stages.check.rules.optimizer import trainer
from stages.check.rules.rope import described, rotary_dim, with_positions, wrong_positions
from stages.check.rules.yarn import rescaled
from stages.contract.rope import inv_freq
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.variants import RawVariant

# Stages that make weights, in words; a pointer and an export make none.
MADE = {
    "train": "a stage that trains", "merge": "a stage that averages", "upcycle": "a stage that makes a larger model",
    "import": "a release that is brought in",
}  # fmt: skip
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
    "is lost, and short evaluations do not show it. A base with a digit too many is learned anew for nothing.",
    threads=("unslothai/unsloth#7028", "JIA-Lab-research/LongLoRA#81"),
)
def positions_do_not_go_back(context: Context) -> Iterator[Finding]:
    """I-37. Stages that do not train keep their parent's positions (I-13); figures are those of full size."""
    for name, stage, rope, dim in with_positions(context):
        for ref, parent in context.parents(stage) if stage.kind == "train" else ():
            above = rotary_dim(parent)
            if above is None or parent.rope is None or parent.rope == rope:
                continue
            if wrong_positions(parent.rope, above) or wrong_positions(rope, dim) or rescaled(parent.rope, rope):
                continue  # I-11 or I-12 names it
            old, new = (described(_at_full_size(context, one)) for one in (parent.rope, rope))
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
    found, waiting = [name], [name]
    stages = context.pipeline.stages
    while waiting:
        ref = context.pipeline.refs[waiting.pop()]
        below = [
            one for one, stage in stages.items() if ref in stage.needed and stage.rope == rope and one not in found
        ]
        found += below
        waiting += below
    return max(stages[one].max_context for one in found)


def _original(rope: Rope, parent: Stage) -> int:
    """The length from which YaRN extends a parent's context."""
    return rope.yarn.original if rope.yarn else parent.max_context


def _any_faster(before: list[float], after: list[float]) -> bool:
    """Whether a pair turns faster than it did: positions move together there."""
    return any(new > old * (1 + ROUNDING) for old, new in zip(before, after, strict=False))


def _at_full_size(context: Context, rope: Rope) -> Rope:
    """The positions as they are written: base and original length shrink with the context."""
    llama3 = rope.llama3 and rope.llama3.model_copy(
        update={"original": int(context.full_context(rope.llama3.original))}
    )
    yarn = rope.yarn and rope.yarn.model_copy(update={"original": int(context.full_context(rope.yarn.original))})
    base = rope.base * float(context.full_context(1))
    return rope.model_copy(update={"base": base, "llama3": llama3, "yarn": yarn})


@static(
    "I-38",
    title="Nothing is trained for nothing",
    rule="In a pipeline that exports something, a later stage or an export starts from every stage that trains, "
    "averages, makes a larger model or brings a release in. One of "
    "several alternatives need not go on: stages of the same parents with the same budget, data and contexts. "
    "Fine-tuning starts from the last stage of a schedule, unless that one is fine-tuned too. No two stages do the "
    "same.",
    why="A stage is added, or `from` names the stage before the last: what was trained last is never released, and "
    "nothing fails.",
    threads=(),
)
def training_is_handed_on(context: Context) -> Iterator[Finding]:
    """I-38."""
    yield from early_fine_tuning(context)
    yield from equal_stages(context)
    stages = context.pipeline.stages
    exports = [name for name, stage in stages.items() if stage.kind == "export"]
    read = {needed for stage in stages.values() for needed in stage.needed}
    for name, stage in context.own:
        dead = exports and stage.kind in MADE and context.pipeline.refs[name] not in read
        if dead and not any(_alternative(context, name, other) for other in stages):
            beside = _beside(context, stage)
            found = context.finding(
                "I-38", name, ("stage",),
                observed=f"{MADE[stage.kind]} and that no `from` names; {_instead(context, beside or exports)}",
                expected="a later stage or an export that starts from it",
                repair=f"Name {name} in `from` of the stage that should follow, export it, or take it out; waive "
                "this for one that is only measured.",
                found="handed to nobody",
            )  # fmt: skip
            # One stage next to it, from the same parent, is the one that passes it over.
            own = len(beside) == 1 and beside[0] in context.pipeline.own
            yield replace(found, where=context.pipeline.where(beside[0], "init", "from")) if own else found


def _alternative(context: Context, name: str, other: str) -> bool:
    """Whether two stages are arms of one comparison: of learning rates, optimizers, batches or seeds."""
    raws = context.loaded.stages[name].raw, context.loaded.stages[other].raw
    varied = [raw.written for raw in raws if isinstance(raw, RawVariant)]
    if name != other and len(varied) == 2 and varied[0] == varied[1]:
        return True
    one, two = context.pipeline.stages[name], context.pipeline.stages[other]
    if name == other or one.kind != two.kind or one.parents != two.parents or len(one.phases) != len(two.phases):
        return False
    return all(_read(context, name, number) == _read(context, other, number) for number in range(len(one.phases)))


def _read(context: Context, name: str, number: int) -> tuple[object, ...] | None:
    """How much a phase reads of what, as it is written."""
    raw = context.raw_phase(name, number)
    return (raw.objective, raw.budget, raw.context, raw.data) if raw is not None else None


def _beside(context: Context, stage: Stage) -> list[str]:
    """The stages that start from a parent of the stage's too."""
    stages = context.pipeline.stages.items()
    return [name for name, one in stages if one.name != stage.name and set(one.parents) & set(stage.parents)]


def _instead(context: Context, names: list[str]) -> str:
    """What some stages start from."""
    return ", ".join(
        f"{name} is from {' and '.join(one.rpartition('/')[2] for one in context.pipeline.stages[name].parents)} "
        f"({context.pipeline.where(name, 'init', 'from')})"
        for name in names
    )


@static(
    "I-40",
    title="A module is taken as its last training left it",
    rule="A module is not taken from an ancestor of another module's stage when a stage in between has trained it "
    "further, and is not drawn anew where the stage that others come from has it as the lineage trained it.",
    why="A projector learned with an aligned tower is joined to the tower as it was before its alignment: the "
    "alignment of the tower is lost, and the loss recovers far enough to hide it.",
    threads=(),
)
def modules_are_of_one_time(context: Context) -> Iterator[Finding]:
    """I-40."""
    for name, stage in context.own:
        parents = {init.parent for init in stage.init.values() if init.parent in context.by_ref}
        for module, init in stage.init.items():
            if init.weights == "fresh" and init.release is None:
                yield from _drawn_anew(context, name, stage, module)
            if init.weights != "inherit" or init.parent is None:
                continue
            for other in sorted(one for one in parents if one is not None and one != init.parent):
                between = _trained_between(context, module, init.parent, other)
                if between:
                    beside = [one for one, its in stage.init.items() if its.parent == other]
                    yield context.finding(
                        "I-40", name, ("init", "from", module), parent=init.parent,
                        observed=f"{module} from {init.parent}, beside {', '.join(beside)} from {other}; "
                        f"{', '.join(between)} trained {module} further",
                        expected=f"{module} as {between[0]} left it",
                        repair=f"Take {module} from {other.rpartition('/')[2]} too.",
                        at=(module,), found=f"trained by {', '.join(one.rpartition('/')[2] for one in between)}",
                    )  # fmt: skip


def _drawn_anew(context: Context, name: str, stage: Stage, module: str) -> Iterator[Finding]:
    """A module that begins at random weights next to others of a parent, which hands on the same one trained."""
    for parent in sorted({init.parent for init in stage.init.values() if init.parent is not None}):
        above = context.by_ref.get(parent)
        if above is not None and above.modules.get(module) == stage.modules[module]:
            by, source = trainer(context, parent, module)
            if module in source.trained:
                yield context.finding(
                    "I-40", name, ("init", "weights", module), parent=parent,
                    observed=f"{module} fresh, beside modules of {parent}, which has it as {by} trained it",
                    expected=f"{module} as {by} left it",
                    repair=f"Write `{module}: inherit`, or waive this, if it is to be learned anew.",
                    at=(module,), found="fresh",
                )  # fmt: skip
                return


def _trained_between(context: Context, module: str, early: str, late: str) -> list[str]:
    """Stages from `late` up to `early`, along the module's edges, that trained it; none where `early` is not above."""
    trained: list[str] = []
    at: str | None = late
    while at is not None and at != early and at in context.by_ref and module in context.by_ref[at].modules:
        stage = context.by_ref[at]
        if module in stage.trained:
            trained.append(at)
        at = stage.init[module].parent
    return trained if at == early else []
