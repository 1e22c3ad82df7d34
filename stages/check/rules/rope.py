"""Rotary positions and context lengths: I-11 to I-14, I-29."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.check.rules.yarn import rescaled, without_effect, wrong_yarn
from stages.contract.rope import inv_freq, longest_wavelength
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope
from stages.spec.schema.stages import RawImport, RawTrain

MANY_PAIRS = 16  # from here on the slowest pair lies near the base's own wavelength


def rotary_dim(stage: Stage) -> int | None:
    """How many dimensions of a head are rotated in the stage's language model; None without one."""
    for model in stage.modules.values():
        if isinstance(model, LanguageModel):
            return model.parts.rotated
    return None


def with_positions(context: Context) -> Iterator[tuple[str, Stage, Rope, int]]:
    """Own stages with a language model that has rotary positions it can use."""
    for name, stage in context.own:
        dim = rotary_dim(stage)
        if dim is not None and stage.rope is not None and _usable(stage.rope, dim):
            yield name, stage, stage.rope, dim


def _usable(rope: Rope, dim: int) -> bool:
    return dim > 0 and dim % 2 == 0 and isfinite(rope.base) and rope.base > 1 and rope.interpolation > 0


@static(
    "I-11",
    title="Rotary positions are stated and reach the model",
    rule="Every stage with a language model states its rotary positions, the model can build them, and the frequencies "
    "read back from the built model equal the formula's.",
    why="A flag that the trainer ignores leaves the base at 10,000 or the factor at 8, and nothing fails.",
    threads=("NVIDIA/Megatron-LM#6585", "NVIDIA/Megatron-LM#6305"),
    held_by=(
        "stages/models/rotary.py",
        "tests/parity/test_rope.py",
        "tests/unit/models/test_llama.py",
        "stages/guards/start.py",
    ),
)
def positions_are_stated(context: Context) -> Iterator[Finding]:
    """I-11, as far as specs go."""
    for name, stage in context.own:
        dim = rotary_dim(stage)
        if (dim is None) != (stage.rope is None):
            yield context.finding(
                "I-11", name, ("rope",),
                observed="no rotary positions" if stage.rope is None else "rotary positions without a language model",
                expected="`rope` exactly where a language model is",
                repair="State base, llama3 and interpolation.",
            )  # fmt: skip
        elif dim is not None and stage.rope is not None and (wrong := wrong_positions(stage.rope, dim)):
            yield context.finding(
                "I-11", name, ("rope",),
                observed=wrong, expected="a base above 1, an even dimension, factors of at least 1, low below high",
                repair="Correct `rope`.",
            )  # fmt: skip
        elif stage.rope is not None and stage.rope.yarn is not None:
            yield from without_effect(context, name, stage, stage.rope.yarn)


def wrong_positions(rope: Rope, dim: int) -> str | None:
    """What a model could not build these positions from; None where it can."""
    if not _usable(rope, dim):
        return f"a base of {rope.base:g} on {dim} dimensions, divided by {rope.interpolation:g}"
    if rope.interpolation < 1:
        return f"an interpolation by {rope.interpolation:g}, which lengthens positions"
    scaling = rope.llama3
    if scaling is not None and not (scaling.factor >= 1 and 0 < scaling.low < scaling.high and scaling.original > 0):
        return f"llama3 scaling by {scaling.factor:g} between {scaling.low:g} and {scaling.high:g}"
    return None if rope.yarn is None else wrong_yarn(rope, rope.yarn, dim)


@static(
    "I-12",
    title="A change of rotary positions takes effect",
    rule="What a stage's spec says of rotary positions is what the stage is run with, and where it differs from the "
    "parent's, the model's frequencies differ too.",
    why="Loading a checkpoint's arguments brings the parent's base back over the child's: a long-context stage then "
    "trains at the old base.",
    threads=("NVIDIA/Megatron-LM megatron/training/checkpointing.py, _set_arg('rotary_base', force=True)",),
    held_by=("stages/engines/received.py", "stages/guards/start.py"),
)
def changed_positions_take_effect(context: Context) -> Iterator[Finding]:
    """I-12."""
    for name, stage, rope, dim in with_positions(context):
        raw = context.loaded.stages[name].raw
        stated = raw.rope if isinstance(raw, (RawTrain, RawImport)) else None
        if stated is not None and (wanted := context.shrink.rope(stated)) != rope:
            yield context.finding(
                "I-12", name, ("rope",),
                observed=f"a stage run with {described(rope)}", expected=f"{described(wanted)}, as its spec says",
                repair="Report this: the spec does not reach the stage.",
            )  # fmt: skip
        for ref, parent in context.parents(stage):
            above = rotary_dim(parent)
            if above is None or parent.rope is None or parent.rope == rope or not _usable(parent.rope, above):
                continue
            if words := rescaled(parent.rope, rope):
                yield context.finding(
                    "I-12", name, ("rope", "yarn"), parent=ref,
                    observed=f"yarn with {words}, and the same frequencies",
                    expected="the parent's figures: queries and keys are multiplied by what they come to",
                    repair="State the parent's `attention_factor`, `mscale` and `mscale_all_dim`.", found=words,
                )  # fmt: skip
            elif inv_freq(parent.rope, above) == inv_freq(rope, dim):
                yield context.finding(
                    "I-12", name, ("rope",), parent=ref,
                    observed=f"a change to {described(rope)} that moves none of the {dim // 2} frequencies",
                    expected="other frequencies than the parent's",
                    repair="Give the model more rotated dimensions at this scale.",
                )  # fmt: skip


def described(rope: Rope) -> str:
    """Rotary positions in a few words."""
    scaling = f", llama3 x{rope.llama3.factor:g} from {rope.llama3.original:,}" if rope.llama3 else ""
    if rope.yarn is not None:
        return f"base {rope.base:g}, yarn x{rope.yarn.factor:g} from {rope.yarn.original:,}"
    return f"base {rope.base:g}{scaling}, interpolation {rope.interpolation:g}"


@static(
    "I-13",
    title="Rotary scaling survives import, hand-over and export",
    rule="Stages that do not train keep their parent's base, scaling type, factor, bands and original length, and what "
    "is exported reads back as the same.",
    why="Scaling is dropped or applied to an already built model in a conversion; logits look plausible up to the old "
    "length.",
    threads=(
        "NVIDIA-NeMo/Megatron-Bridge#5097", "speculators#574", "swiss-ai/Megatron-LM#76",
        "LLM-Shearing#66", "MakazhanAlpamys/Soup#793",
    ),
    held_by=(
        "stages/spec/schema/stages.py", "tests/parity/test_hf.py", "tests/parity/test_rope.py",
        "stages/guards/start.py",
    ),
)  # fmt: skip
def positions_survive_hand_over(context: Context) -> Iterator[Finding]:
    """I-13, as far as specs go."""
    for name, stage in context.own:
        if stage.kind not in ("keep", "export", "upcycle", "merge"):
            continue
        for ref, parent in context.parents(stage):
            if stage.rope != parent.rope:
                yield context.finding(
                    "I-13", name, ("init", "from"), parent=ref,
                    observed=described(stage.rope) if stage.rope else "no rotary positions",
                    expected=described(parent.rope) if parent.rope else "none, as the parent",
                    repair="A stage that does not train changes no positions; train with the new ones first.",
                )  # fmt: skip


@static(
    "I-14",
    title="A release declares the longest context of its lineage",
    rule="A stage's longest context is the maximum over its lineage under the current rotary positions: a short "
    "fine-tuning after a long extension still declares the long one.",
    why="An export declared 8,192 for a model trained at 65,536; others had no way to say what the base was raised to.",
    threads=("hiyouga/LlamaFactory#9524", "open-instruct#1849", "NVIDIA/Megatron-LM#1002"),
    held_by=("stages/spec/schema/stages.py", "stages/guards/written_config.py"),
)
def longest_context_is_declared(context: Context) -> Iterator[Finding]:
    """I-14."""
    for name, stage in context.own:
        wanted = _longest(context, stage)
        if stage.max_context != wanted:
            yield context.finding(
                "I-14", name, ("max_context",),
                observed=f"a declared context of {stage.max_context:,}",
                expected=f"{wanted:,}, the longest of the lineage under {described(stage.rope)}" if stage.rope
                else f"{wanted:,}",
                repair="Declare the longest context under these rotary positions.",
            )  # fmt: skip


def _longest(context: Context, stage: Stage) -> int:
    """Computed from the phases of the lineage; a released model declares its own."""
    own = [phase.context for phase in stage.phases]
    if stage.kind == "import" and not own:
        return stage.max_context
    above = [_longest(context, parent) for _, parent in context.parents(stage) if parent.rope == stage.rope]
    return max(own + above, default=0)


@static(
    "I-29",
    title="Context grows only where positions allow it",
    rule="The slowest rotary wavelength, after all scaling, covers every sequence length of the stage: four times over "
    "where at least 16 pairs are rotated, once where fewer pairs make it shorter. With YaRN, no sequence is longer "
    "than its original length times its factor.",
    why="Positions beyond a full turn of the slowest pair look like earlier ones: the model cannot tell them apart. "
    "After a quarter turn its cosine changes sign; the published stages stay within that.",
    threads=("hiyouga/LlamaFactory#9524",),
)
def wavelength_covers_context(context: Context) -> Iterator[Finding]:
    """I-29."""
    for name, stage, rope, dim in with_positions(context):
        reach = longest_wavelength(rope, dim) / (4 if dim // 2 >= MANY_PAIRS else 1)
        for number, phase in enumerate(stage.phases):
            if phase.context > reach:
                yield context.finding(
                    "I-29", name, ("phases", number, "context"),
                    observed=f"{phase.context:,} positions", expected=f"at most {int(reach):,} with {described(rope)}",
                    repair="Raise the base or interpolate, shorten the context, or waive this with its reason.",
                    found=context.full_context(phase.context),
                )  # fmt: skip
            elif rope.yarn is not None and phase.context > rope.yarn.original * rope.yarn.factor:
                yield context.finding(
                    "I-29", name, ("phases", number, "context"),
                    observed=f"{phase.context:,} positions",
                    expected=f"at most {int(rope.yarn.original * rope.yarn.factor):,} with {described(rope)}",
                    repair="Raise yarn's `factor`, shorten the context, or waive this with its reason.",
                    found=context.full_context(phase.context),
                )  # fmt: skip
