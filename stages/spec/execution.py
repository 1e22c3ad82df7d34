"""How a stage is run: the scale's defaults, and what a stage or a scale's entry for it says in their place."""

from __future__ import annotations

from stages.spec.loader import LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.resolved import Activations, Execution
from stages.spec.resolved_parallel import Engine, Parallel
from stages.spec.scales import Scale
from stages.spec.schema.data import RawScale
from stages.spec.schema.stages import RawExecution, RawParallel

LEAST_MB_OF_A_GPU = 2000  # host memory of one process: the libraries of a GPU alone take as much


def execution(loaded: LoadedStage, engine: Engine, raw: RawScale, scale: Scale) -> Execution:
    """The scale's defaults, overridden by what the stage says at full size, and what the scale says of it at others.

    Raises SpecError where the ranks cannot be spread evenly over the nodes, or models over the ranks, or the memory
    is not that of a node.
    """
    base, over = raw.execution, _over(loaded, scale)
    parallel = _parallel(over.parallel, raw) if engine == "nemo" else None
    resolved = Execution(
        engine=engine,
        device=raw.device,
        threads=raw.threads,
        ranks=over.ranks or base.ranks,
        nodes=over.nodes or base.nodes,
        memory_mb=over.memory or base.memory,
        time_limit_min=over.time_limit or base.time_limit,
        checkpoint_every=over.checkpoint_every or base.checkpoint_every,
        keep_partials=over.keep_partials or base.keep_partials,
        activations=_activations(parallel) or over.activations or base.activations,
        determinism=over.determinism or base.determinism,
        parallel=parallel,
    )
    counted = over.ranks is not None or over.nodes is not None
    if resolved.ranks % resolved.nodes:
        found = f"{resolved.ranks} ranks on {resolved.nodes} nodes"
        document, path = _file(loaded, scale, own=counted)
        raise document.error(path, found, "as many ranks on each node", "Change `ranks` or `nodes`.")
    if parallel is not None and resolved.ranks % parallel.ranks_of_a_model:
        document, path = _file(loaded, scale, own=counted or bool(over.parallel.model_fields_set))
        found = f"{resolved.ranks} ranks, with tp {parallel.tp}, pp {parallel.pp} and cp {parallel.cp}"
        allowed = f"a multiple of tp * pp * cp, which is {parallel.ranks_of_a_model}"
        raise document.error((*path, "ranks"), found, allowed, "Change `ranks` or `parallel`.", "I-46")
    gpus = resolved.ranks // resolved.nodes if resolved.device == "cuda" else 0
    if resolved.memory_mb < gpus * LEAST_MB_OF_A_GPU:
        document, path = _file(loaded, scale, own=over.memory is not None)
        ranks = "1 rank on a GPU" if gpus == 1 else f"{gpus} ranks on GPUs"
        least = f"at least {gpus * LEAST_MB_OF_A_GPU / 1000:g} GB for a node of {ranks}"
        found = f"{resolved.memory_mb / 1000:g} GB"
        raise document.error((*path, "memory"), found, least, "It is a node's memory, not a device's.", "I-42")
    return resolved


def _over(loaded: LoadedStage, scale: Scale) -> RawExecution:
    """What overrides the scale's defaults for a stage."""
    if scale.shrink is None:
        return loaded.raw.execution
    own, below = scale.shrink.executions.get(loaded.raw.stage), scale.shrink.execution
    if own is None:
        return below
    divided = below.parallel.model_copy(update=_declared(own.parallel))
    return below.model_copy(update={**_declared(own), "parallel": divided})


def _declared(raw: RawExecution | RawParallel) -> dict[str, object]:
    """The fields that are written, by name."""
    return {name: getattr(raw, name) for name in raw.model_fields_set if getattr(raw, name) is not None}


def _parallel(over: RawParallel, raw: RawScale) -> Parallel | None:
    """The scale's layout, with what the stage says of its own in its place."""
    if raw.execution.parallel is None:
        return None
    return Parallel(**{**raw.execution.parallel.model_dump(), **_declared(over)})


def _activations(parallel: Parallel | None) -> Activations | None:
    """Of the NeMo engine: what the layout says of recomputing; `activations` is the torch engine's key."""
    if parallel is None:
        return None
    return "recomputed" if parallel.layers_again else "kept"


def _file(loaded: LoadedStage, scale: Scale, own: bool) -> tuple[Document, Path]:
    """Where it stands; `own` is whether the stage, or the scale's entry for it, says something of it itself."""
    if own and scale.shrink is not None:
        return scale.document, next(at for at in entries(scale, loaded.raw.stage) if at in scale.document.places)
    return (loaded.document if own else scale.document), ("execution",)


def entries(scale: Scale, stage: str) -> tuple[Path, Path]:
    """Where a scale that shrinks may say how a stage is run: of the stage, then of its pipeline."""
    at: Path = ("pipelines", scale.pipeline)
    return (*at, "executions", stage), (*at, "execution")
