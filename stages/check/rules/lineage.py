"""What a lineage is for, and which of two versions of a module it takes: I-38, I-40."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.optimizer import trainer
from stages.spec.graph import reached
from stages.spec.key import stage_key
from stages.spec.resolved import Stage
from stages.spec.schema.stages import RawTrain
from stages.spec.variants import RawVariant

# Stages that make weights, in words; a pointer and an export make none.
MADE = {
    "train": "a stage that trains", "merge": "a stage that averages", "upcycle": "a stage that makes a larger model",
    "import": "a release that is brought in",
}  # fmt: skip


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
            # One stage next to it, from the same parent, is the one that passes it over.
            passes = len(beside) == 1 and beside[0] in context.pipeline.own
            yield context.finding(
                "I-38", name, ("stage",),
                observed=f"{MADE[stage.kind]} and that no `from` names; {_instead(context, beside or exports)}",
                expected="a later stage or an export that starts from it",
                repair=f"Name {name} in `from` of the stage that should follow, export it, or take it out; waive "
                "this for one that is only measured.",
                found="handed to nobody",
                where=context.pipeline.where(beside[0], "init", "from") if passes else None,
            )  # fmt: skip


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
    "further, and is not drawn again where the stage that others come from has it as the lineage trained it.",
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
                    repair=f"Write `{module}: inherit`, or waive this, if it is to be learned again.",
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


def equal_stages(context: Context) -> Iterator[Finding]:
    """Stages that train from the same parents on the same corpora, merges and exports, that would have one key.

    At full size, as a scale may shrink two stages to one; and of corpora as mixtures name them, as one local corpus may
    take the place of several.
    """
    if context.shrink.shrink is not None:
        return
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, stage in context.pipeline.stages.items():
        if stage.kind in ("train", "merge", "export"):
            mixtures = tuple(frozenset(context.mixture(name, number)) for number in range(len(stage.phases)))
            groups.setdefault((stage.parents, mixtures), []).append(name)
    for names in groups.values():
        known: dict[str, str] = {}
        for name in names if len(names) > 1 else ():
            other = known.setdefault(_work(context, name), name)
            if other != name and name in context.pipeline.own:
                where = context.pipeline.where(other, "stage")
                yield context.finding(
                    "I-38", name, ("stage",), observed=f"all that {other} does ({where})",
                    expected="stages that differ in what they compute",
                    repair="Correct what was to differ, or take one of them out.", found=other,
                )  # fmt: skip


def _work(context: Context, name: str) -> str:
    """The key of a stage next to others of the same parents, whatever the scale's seed is."""
    parents = context.pipeline.stages[name].parents
    raw = context.loaded.stages[name].raw
    own = raw.seed if isinstance(raw, RawTrain) and raw.seed is not None else -1
    return stage_key(context.pipeline.stages[name].model_copy(update={"seed": own}), dict.fromkeys(parents, "0" * 32))


def early_fine_tuning(context: Context) -> Iterator[Finding]:
    """A finding (I-38) where fine-tuning starts from a stage whose schedule goes on to an export, without fine-tuning.

    Fine-tuning of an early checkpoint next to that of the last one is a comparison, and none.
    """
    for name, stage in context.own:
        if not _fine_tunes(stage):
            continue
        for ref, parent in context.trained_parents(stage):
            for later in _goes_on(context, stage, ref, parent):
                below = _descendants(context, later)
                exports = [one for one in below if context.by_ref[one].kind == "export"]
                if exports and not any(_fine_tunes(context.by_ref[one]) for one in below):
                    yield context.finding(
                        "I-38", name, ("init", "from"), parent=ref,
                        observed=f"fine-tuning from {ref}, from which {later} goes on to {exports[0]}; "
                        "no fine-tuning starts from there",
                        expected="fine-tuning of the model as its training left it",
                        repair=f"Name {exports[0].rpartition('/')[2]} in `from`, or fine-tune both.",
                        found=f"without {later.rpartition('/')[2]}",
                    )  # fmt: skip


def _fine_tunes(stage: Stage) -> bool:
    return any(phase.answers_alone for phase in stage.phases)


def _goes_on(context: Context, stage: Stage, ref: str, parent: Stage) -> list[str]:
    """The stages that go on from a parent on its clock, with a model that the stage trains too."""
    shared = [module for module in stage.trained if stage.modules.get(module) == parent.modules.get(module)]
    return [
        other
        for other, one in context.by_ref.items()
        if one.clock == "continue" and not _fine_tunes(one) and one.name != stage.name
        and ref in dict(context.trained_parents(one)) and one.phases
        and any(one.modules.get(module) == stage.modules[module] for module in shared)
    ]  # fmt: skip


def _descendants(context: Context, ref: str) -> list[str]:
    """A stage and all that start from it, nearest first."""
    return reached([ref], lambda one: [name for name, stage in context.by_ref.items() if one in stage.parents])
