"""Published layouts: how a stage's modules become one model of a class that transformers and servers know."""

from __future__ import annotations

from dataclasses import dataclass

from stages.errors import UserError
from stages.export.result import Result

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Published:
    """The layout that an export is written in."""

    task: str  # what the hub calls a pipeline_tag

    def tensor(self, module: str, name: str, shape: Shape) -> tuple[str, Shape]:
        """The published name and shape of a module's tensor; the order of its numbers is the same."""
        return name, shape


def published(result: Result) -> Published:
    """The layout for a result. Raises UserError where there is none for its modules."""
    stage, llm = result.stage, result.llm
    if set(stage.modules) != {llm}:
        others = ", ".join(f"{name} ({cfg.family})" for name, cfg in stage.modules.items() if name != llm)
        raise UserError(f"{result.ref}: has {others} beside its language model; allowed: a language model alone.")
    if stage.modules[llm].family == "ouro":
        raise UserError(
            f"{result.ref}: is of family ouro, which transformers has no class for; allowed: llama, moonlight."
        )
    return Published("text-generation")
