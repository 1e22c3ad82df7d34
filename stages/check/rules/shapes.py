"""Whether the modules of a stage fit together and fit their data: S-01 to S-08."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import REGISTRY, static
from stages.check.rules.idle_declarations import idle_jumps, idle_rereads, idle_restarts
from stages.check.waivers import holders
from stages.spec.fields import says
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Model, MoonViTModel


def of_family(stage: Stage, *families: str) -> tuple[str, Any] | None:
    """(module's name, model) of the stage's first module of these families."""
    return next(((name, model) for name, model in stage.modules.items() if model.family in families), None)


def _size(context: Context, id: str, name: str, module: str, key: str, expected: str) -> Finding:
    """A size of a module's model that is wrong: reported where the size is written."""
    found = _value(context.pipeline.stages[name], module, key)
    return context.finding(
        id, name, ("modules", module), observed=f"{module}.{key}: {found}", expected=expected,
        repair="Correct the model in pipeline.yaml, or under the scale's `models`.",
        where=context.where_size(name, module, key),
    )  # fmt: skip


def _value(stage: Stage, module: str, key: str) -> Any:
    return getattr(stage.modules[module], key)


def _equal(context: Context, id: str, name: str, other: str, module: str, key: str) -> Iterator[Finding]:
    """That a size of a module's model is the hidden size of the other's."""

    def right(stage: Stage) -> bool:
        return bool(_value(stage, module, key) == _value(stage, other, "hidden"))

    if not right(context.pipeline.stages[name]):
        wanted = _value(context.pipeline.stages[name], other, "hidden")
        finding = _size(context, id, name, module, key, str(wanted))
        yield _of_scale(context, finding, name, module, key, right)


def _of_scale(
    context: Context, finding: Finding, name: str, module: str, key: str, right: Callable[[Stage], bool]
) -> Finding:
    """The finding, at the scale's line where the stage is right at full size."""
    full = context.full.stages.get(name) if context.full is not None else None
    if full is None or not right(full):
        return finding
    return replace(finding, where=context.where_models(name, module, key))


@static(
    "S-01",
    title="The contrastive space is the towers' own",
    rule="The contrastive head, the vision tower and the text tower have the same hidden size.",
    why="Image and text embeddings are compared by a dot product, without a projection between them.",
    threads=(),
)
def contrastive_space(context: Context) -> Iterator[Finding]:
    """S-01."""
    for name, stage in context.own:
        vit, head = of_family(stage, "moonvit"), of_family(stage, "contrastive")
        if vit is None or head is None:
            continue
        for one in (head, of_family(stage, "text_tower")):
            if one is not None:
                yield from _equal(context, "S-01", name, vit[0], one[0], "hidden")


@static(
    "S-02",
    title="The caption decoder reads the vision tower's features",
    rule="The decoder's vision_hidden is the vision tower's hidden size.",
    why="Cross-attention projects from the size that it is given.",
    threads=(),
)
def decoder_input(context: Context) -> Iterator[Finding]:
    """S-02."""
    for name, stage in context.own:
        vit, decoder = of_family(stage, "moonvit"), of_family(stage, "caption_decoder")
        if vit is not None and decoder is not None:
            yield from _equal(context, "S-02", name, vit[0], decoder[0], "vision_hidden")


@static(
    "S-03",
    title="The projector joins vision tower and language model",
    rule="The projector's vision_hidden and llm_hidden are those models' hidden sizes, and its merge divides a side of "
    "the vision tower's position table.",
    why="Projected patches take the place of token embeddings, and patches are merged in whole squares.",
    threads=(),
)
def projector_sides(context: Context) -> Iterator[Finding]:
    """S-03."""
    for name, stage in context.own:
        projector = of_family(stage, "projector")
        if projector is None:
            continue
        for side, families in (("vision_hidden", ("moonvit",)), ("llm_hidden", LANGUAGE_MODELS)):
            other = of_family(stage, *families)
            if other is not None:
                yield from _equal(context, "S-03", name, other[0], projector[0], side)
        vit = of_family(stage, "moonvit")
        if vit is not None and not _merges_divide(stage):
            expected = f"a divisor of {vit[1].table}, the patches of a side of {vit[0]}"
            finding = _size(context, "S-03", name, projector[0], "merge", expected)
            yield _of_scale(context, finding, name, vit[0], "table", _merges_divide)


def _merges_divide(stage: Stage) -> bool:
    """Whether the projector's merge divides a side of the vision tower's position table."""
    vit, projector = of_family(stage, "moonvit"), of_family(stage, "projector")
    return vit is not None and projector is not None and vit[1].table % projector[1].merge == 0


@static(
    "S-04",
    title="Every token has an embedding",
    rule="Where the local tokenizer or one of specs/tokenizers is used, no model's vocabulary is smaller than the "
    "tokenizer's; where another published one is, none is smaller at a scale than in pipeline.yaml.",
    why="A token beyond the table is an index error on one device and garbage on another.",
    threads=(),
)
def vocabulary_is_covered(context: Context) -> Iterator[Finding]:
    """S-04."""
    for name, stage in context.own:
        declared = context.data.tokens(stage.tokenizer)
        local = stage.tokenizer == context.data.local
        for module, model in stage.modules.items():
            vocab = getattr(model, "vocab", None)
            if vocab is None or (declared is None and stage.kind in ("keep", "export", "merge")):
                continue  # these have their parent's model
            least = declared
            if least is None:
                least = getattr(context.full_model(name, module), "vocab", vocab)
            if vocab < least:
                yield context.finding(
                    "S-04", name, ("modules", module), observed=f"{module}.vocab: {vocab}",
                    expected=f"at least the {'' if local else 'published '}tokenizer's {least}",
                    repair="Correct the scale's `vocab`, or the model's.",
                    where=None if local else context.where_size(name, module, "vocab"),
                )  # fmt: skip


@static(
    "S-05",
    title="Captions fit the towers",
    rule="Text tower and caption decoder have a learned position for every token of the longest caption they read.",
    why="Longer captions would be cut, or fail in the middle of a run.",
    threads=(),
)
def captions_fit(context: Context) -> Iterator[Finding]:
    """S-05; the lengths of published corpora are not known."""
    for name, stage in context.own:
        read = {source.corpus for phase in stage.phases if phase.coca for source in phase.sources}
        longest = max((context.data.corpora[one].longest for one in read if one in context.data.corpora), default=0)
        for module, model in stage.modules.items():
            length = getattr(model, "length", None)
            if length is not None and length < longest:
                yield context.finding(
                    "S-05", name, ("modules", module), observed=f"{module}.length: {length}",
                    expected=f"at least {longest}, the longest caption of {', '.join(sorted(read))}",
                    repair="Raise `length`, or shorten the captions.", found=Fraction(longest, length),
                )  # fmt: skip


@static(
    "S-06",
    title="Heads and experts divide",
    rule="Hidden sizes split into whole heads, key-value heads into whole groups, rotated dimensions into pairs (fours "
    "for the vision tower's two axes), and no more experts are active than there are.",
    why="Rounded head sizes build a model that nobody specified.",
    threads=(),
)
def heads_divide(context: Context) -> Iterator[Finding]:
    """S-06."""
    for name, stage in context.own:
        for module, model in stage.modules.items():
            if wrong := _indivisible(model):
                yield context.finding(
                    "S-06", name, ("modules", module), observed=f"{module}: {wrong}", expected="whole parts",
                    repair="Correct the model in pipeline.yaml, or under the scale's `models`.",
                )  # fmt: skip


def _indivisible(model: Model) -> str | None:
    if isinstance(model, LanguageModel):
        return model.indivisible()
    heads, hidden = getattr(model, "heads", 1), getattr(model, "hidden", 0)
    if hidden % heads:
        return f"{hidden} in {heads} heads"
    four = isinstance(model, MoonViTModel) and model.hidden // heads % 4
    return f"heads of {hidden // heads} on two axes" if four else None


@static(
    "S-07",
    title="Waivers name invariants that do not hold",
    rule="A waiver's id is that of an invariant, its reason says something, and what it names is found at some scale: "
    "at each of its places, with a value that is no larger, and not less than half of it (of a step, its factor not "
    "less than the root of the waiver's). A declared `jump` is one, a declared `reread` reads something again, and an "
    "upcycling, which reads no data, declares neither a restart of them nor a `reread`.",
    why="A mistyped waiver waives nothing, and one of a whole stage hides the next fault of its kind.",
    threads=(),
)
def waivers_are_known(context: Context) -> Iterator[Finding]:
    """S-07."""
    yield from idle_jumps(context)
    yield from idle_rereads(context)
    yield from idle_restarts(context)
    for holder in holders(context.pipeline):
        for waiver, where in zip(holder.waivers, holder.lines, strict=True):
            known = waiver.id in REGISTRY and REGISTRY[waiver.id].check is not None
            if not known or not says(waiver.reason):
                yield Finding(
                    "S-07", context.pipeline.scale, holder.ref, None,
                    observed=f"a waiver of {waiver.id!r} for the reason {waiver.reason!r}",
                    expected="an invariant that specs decide, and a reason",
                    repair="`stages check --explain I-04` says what an id means.", where=where,
                )  # fmt: skip
