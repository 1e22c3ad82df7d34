"""Which engine runs a stage, and what a scale has to say of its engines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from stages.errors import SpecError
from stages.spec.nodes import Document
from stages.spec.resolved_models import LANGUAGE_MODELS, Model
from stages.spec.resolved_parallel import Engine, EngineClass, engine_of
from stages.spec.schema.data import RawScale
from stages.spec.schema.phases import RawPhase

LANGUAGE = ("next_token", "looped", "sft", "joint", "preference")  # objectives that move a language model


def chosen(
    scale: RawScale, kept: Collection[str], name: str, kind: str, trained: Sequence[Model], phases: Sequence[RawPhase]
) -> tuple[Engine, EngineClass]:
    """The engine that runs a stage at a scale, and what it computes in.

    At a scale with the NeMo engine that engine trains language models. What comes in, is copied or goes out, stand-ins
    of releases, contrastive training and alignment are the torch engine's, and so are the stages `kept` for it by name.
    """
    if scale.torch_class is None:
        return scale.engine, scale.engine_class
    language = any(model.family in LANGUAGE_MODELS for model in trained)
    if kind == "train" and language and name not in kept and all(phase.objective in LANGUAGE for phase in phases):
        return scale.engine, scale.engine_class
    return "torch", scale.torch_class


def unsaid(scale: RawScale, document: Document) -> Iterator[SpecError]:
    """What a scale leaves open about its engines, or says of one that it does not have."""
    if engine_of(scale.engine_class) != scale.engine:
        allowed = ", ".join(f"{scale.engine}-{width}" for width in ("fp32", "bf16"))
        yield document.error(
            ("engine_class",), f"{scale.engine_class} of engine {scale.engine}", allowed, "Correct one of the two."
        )
    several = scale.engine != "torch"
    for path, value, needed in (
        (("torch_class",), scale.torch_class, "torch-fp32 or torch-bf16: what the torch engine computes in"),
        (("execution", "parallel"), scale.execution.parallel, "how a stage is divided that does not say it"),
    ):
        if several and value is None:
            repair = f"Add `{path[-1]}: ...`: the engine {scale.engine} needs it."
            yield document.error(path, "nothing", needed, repair)
        if not several and value is not None:
            yield document.error(path, "an entry", "none with engine torch", f"Remove `{path[-1]}`.")
    for pipeline, shrink in (scale.pipelines or {}).items():
        if not several and shrink is not None and shrink.torch:
            at = ("pipelines", pipeline, "torch")
            yield document.error(at, "stages", "none with engine torch", "Remove it: that engine runs every stage.")
