"""The model card of an export: what the model is, where it comes from, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping

from stages.spec.resolved import Stage
from stages.store.manifest import Parent


def model_card(stage: Stage, stand_in: bool, parents: Mapping[str, Parent]) -> str:
    """README.md of a release folder, in Markdown."""
    lines = [f"# {stage.box} ({stage.ref}, scale {stage.scale})", ""]
    lines += [line for warning in warnings(stage, stand_in) for line in (warning, "")]
    lines += ["## Made from", ""]
    lines += [f"- {ref}, key `{parent.key}`, manifest `{parent.manifest}`" for ref, parent in sorted(parents.items())]
    lines += ["", "## Modules", ""]
    lines += [f"- `model/{name}`: {cfg.family}{_average(stage, name)}" for name, cfg in stage.modules.items()]
    lines += ["", f"Longest context trained under the current RoPE: {stage.max_context} tokens.", ""]
    return "\n".join(lines)


def warnings(stage: Stage, stand_in: bool) -> list[str]:
    """What the model is not, a paragraph each."""
    found = []
    if stand_in:
        found.append(
            "**Stand-in.** Somewhere in this model's lineage released weights were replaced by a model trained from "
            "scratch at miniature size. It has nothing of the released model but the architecture."
        )
    if stage.scale != "paper":
        found.append(f"A model at scale `{stage.scale}`: it shows that the recipe runs, not what the recipe gives.")
    return found


def _average(stage: Stage, name: str) -> str:
    return ", the average of its weights over the parent's training" if stage.init[name].average else ""
