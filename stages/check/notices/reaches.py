"""Positions that are interpolated by more or by less than a lineage's contexts ask for, or that turn far too slowly."""

from __future__ import annotations

from collections.abc import Iterator

from stages.check.context import Context
from stages.check.notices.full_size import contexts
from stages.check.rules.rope import described
from stages.spec.graph import reached
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_models import Rope

TIMES = 2  # of what the longest context asks for
YARN_TIMES = 4  # arXiv 2412.19437 has 40 x 4K for 128K; some write the factor of a later stage

# Of yarn: 32 and 1 are the paper's (arXiv 2309.00071) and everybody's; 0.1 ln(s) + 1 is 1.07 to 1.37 for factors of 2
# to 40, and DeepSeek-V2's mscale 0.707 (2405.04434).
USUAL = {
    "attention_factor": (0.5, 2.0, "0.7 to 1.5"), "mscale": (0.5, 2.0, "0.7 to 1"),
    "mscale_all_dim": (0.5, 2.0, "0.7 to 1"), "beta_fast": (8.0, 128.0, "32"), "beta_slow": (0.25, 4.0, "1"),
}  # fmt: skip

# Mistral Small 3.1's config.json has 1e9 for 131,072 positions, 7,600 for each, and the card of Gradient's Llama 3 8B
# 4.52e10 for 4,194,304, 10,800 for each; most have 2.4 (10,000 for 4,096) to 250. Falcon-H1 (arXiv 2507.22448) has 1e11
# at every length, from 4,096 on.
HIGHEST_BASE = 20_000  # for each position of the longest row
AT_EVERY_LENGTH = 1e11


def high_bases(project: Project, scale: str) -> Iterator[str]:
    """A notice for each rotary base that is new and higher than any published one for such contexts."""
    for context in contexts(project, scale):
        for name, stage in context.own:
            if stage.rope is None or stage.kind not in ("train", "import"):
                continue
            new = all(one.rope is None or one.rope.base != stage.rope.base for _, one in context.parents(stage))
            where, longest = context.where(name, "rope", "base"), _longest(context, name)
            high = stage.rope.base > HIGHEST_BASE * longest and stage.rope.base != AT_EVERY_LENGTH
            if new and longest and high and context.writes(where):
                yield (
                    f"{where}: {name} has a rotary base of {stage.rope.base:,.0f}, and no stage from here reads more "
                    f"than {longest:,} positions; published ones have at most 11,000 for each position, as 1e9 for "
                    "131,072 (Mistral Small 3.1), or 1e11 (arXiv 2507.22448)."
                )


def unneeded(project: Project, scale: str) -> Iterator[str]:
    """A notice for each stage that interpolates by twice what its lineage's longest context asks for, or by half, and
    for each figure of YaRN that is far from the published ones.
    """
    for context in contexts(project, scale):
        for name, stage in context.own:
            yield from _of_yarn(context, name, stage)
            where = context.where(name, "rope")
            for ref, parent in context.parents(stage) if stage.kind == "train" and context.writes(where) else ():
                if stage.rope is None or parent.rope is None or stage.rope == parent.rope:
                    continue
                reach, longest = _reach(stage.rope, parent), _longest(context, name)
                if reach is not None and longest >= reach * TIMES and stage.rope.yarn is None:
                    yield (
                        f"{where}: {name} reads up to {longest:,} positions on {described(stage.rope)}, and {ref}'s "
                        f"{parent.max_context:,} are interpolated to {reach:,.0f} by it (arXiv 2306.15595)."
                    )
                elif reach is not None and reach >= longest * (YARN_TIMES if stage.rope.yarn is not None else TIMES):
                    yield (
                        f"{where}: {name} has {described(stage.rope)}, which serves {reach:,.0f} positions, and no "
                        f"stage from here reads more than {longest:,}: the more, the harder positions are to tell "
                        "apart (arXiv 2306.15595)."
                    )


def _of_yarn(context: Context, name: str, stage: Stage) -> Iterator[str]:
    yarn = stage.rope.yarn if stage.rope is not None else None
    for key, (least, most, models) in USUAL.items() if yarn is not None and stage.kind in ("train", "import") else ():
        value, where = getattr(yarn, key), context.where(name, "rope", "yarn", key)
        if value is not None and not least <= value <= most and context.writes(where):
            yield f"{where}: {name} has {key} {value:g} of yarn; published models have {models}."


def _reach(rope: Rope, parent: Stage) -> float | None:
    """The positions that a change of interpolation or YaRN alone makes of those that the parent knows."""
    before = parent.rope
    assert before is not None
    if rope.yarn is not None:
        return rope.yarn.original * rope.yarn.factor
    if rope.interpolation <= before.interpolation or (rope.base, rope.llama3) != (before.base, before.llama3):
        return None
    return parent.max_context * rope.interpolation / before.interpolation


def _longest(context: Context, name: str) -> int:
    """The longest row that a stage, or one that comes from it, is trained on."""
    children: dict[str, list[str]] = {}
    for ref, stage in context.by_ref.items():
        for parent in stage.parents:
            children.setdefault(parent, []).append(ref)
    below = reached([context.pipeline.refs[name]], lambda ref: children.get(ref, []))
    return max((phase.context for ref in below for phase in context.by_ref[ref].phases), default=0)
