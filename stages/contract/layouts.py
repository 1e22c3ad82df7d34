"""What a layout of the NeMo engine has to divide, and which parts of one go together: before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stages.contract import numbers
from stages.contract.rope import multiplied
from stages.spec.decoder import Grouped
from stages.spec.families import FAMILIES
from stages.spec.language_model import LanguageModel
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Muon

KEEP = "Name the stage under `torch` in the scale's entry of this pipeline, or change the model."


@dataclass(frozen=True)
class Misfit:
    """A part of a layout, or of a model under one, that does not fit: which, found, what would fit, what to do."""

    part: str
    observed: str
    expected: str
    repair: str


def language_models(stage: Stage) -> list[LanguageModel]:
    """The stage's modules that Core trains, or reads."""
    return [one for one in stage.modules.values() if isinstance(one, LanguageModel)]


def undivided(stage: Stage) -> Iterator[Misfit]:
    """Where a layout divides what is not a multiple of it."""
    layout = stage.execution.parallel
    if layout is None:
        return
    for model in language_models(stage):
        yield from _tensors(model, layout)
        yield from _layers(model, layout)
        yield from _experts(model, layout, stage.execution.ranks)
    for phase in stage.phases:
        yield from _rows(phase, layout)


def filled_up(stage: Stage) -> Iterator[Misfit]:
    """Where the engine would compute blank rows in every full step, so that each replica has as many micro-batches."""
    layout, dp = stage.execution.parallel, stage.execution.dp
    if layout is None:
        return
    for phase in stage.phases:
        each = [-(-rung.sequences // phase.micro_batch) for rung in phase.batch]
        if uneven := [one for one in each if one > dp and one % dp]:  # fewer than there are replicas: I-43
            found = f"{uneven[0]} micro-batches of {phase.micro_batch} sequences, for {dp} replicas"
            yield Misfit("dp", found, "as many for each replica", "Change the ranks, or how each model is divided.")
        elif layout.vpp > 1 and (uneven := [one for one in each if -(-one // dp) % layout.pp]):
            found = f"{layout.vpp}, with {-(-uneven[0] // dp)} micro-batches for each of {dp} replicas"
            yield Misfit("vpp", found, f"a multiple of pp, {layout.pp}", "Say `vpp: 1`, or change the replicas.")


def contradictions(stage: Stage) -> Iterator[Misfit]:
    """Parts of a layout that say nothing, or that go with another part only."""
    layout, execution = stage.execution.parallel, stage.execution
    if layout is None:
        return
    models, per_node = language_models(stage), execution.ranks // execution.nodes
    routed = any(model.ROUTED for model in models)
    if layout.sequence_parallel and layout.tp == 1:
        repair = "Say `sequence_parallel: false`, or raise `tp`."
        yield Misfit("sequence_parallel", "true, with tp 1", "true with several tensor parallel ranks only", repair)
    if layout.tp > 1 and routed and not layout.sequence_parallel:
        repair = "Say `sequence_parallel: true`: Core's expert layers give each rank its own positions."
        yield Misfit("sequence_parallel", f"false, with tp {layout.tp} and routed experts", "true", repair)
    if layout.vpp > 1 and layout.pp == 1:
        repair = "Say `vpp: 1`, or raise `pp`."
        yield Misfit("vpp", f"{layout.vpp}, with pp 1", "pieces of layers with several pipeline ranks only", repair)
    if layout.ep > 1 and not routed:
        yield Misfit("ep", f"{layout.ep}, without routed experts", "1", "Say `ep: 1`: there is nothing to divide.")
    if layout.tp > per_node or per_node % layout.tp:
        repair = "Lower `tp`: its ranks exchange every layer's activations, and links between nodes are slow."
        yield Misfit("tp", f"{layout.tp}, with {per_node} ranks on a node", f"a divisor of {per_node}", repair)


def unsupported(stage: Stage) -> Iterator[Misfit]:
    """What the NeMo engine has no code for."""
    layout = stage.execution.parallel
    if layout is None:
        return
    if layout.pp > 1 and any(model.LOOPED for model in language_models(stage)):
        repair = "Divide by `tp`, `cp` or replicas: a looped model's layers are run several times over."
        yield Misfit("pp", f"{layout.pp}, for a looped model", "1", repair)
    if layout.distributed_optimizer and isinstance(stage.optimizer, Muon):
        repair = "Say `distributed_optimizer: false`: Muon moves whole matrices, and replicas would have ranges."
        yield Misfit("distributed_optimizer", "true, with Muon", "false", repair)
    if stage.rope is not None and stage.rope.yarn is not None and language_models(stage):
        yield Misfit("yarn", f"by {stage.rope.yarn.factor:g}", "llama3 scaling, an interpolation, or neither", KEEP)
    if any(phase.z_loss is not None for phase in stage.phases):
        yield Misfit("z_loss", "of a phase", "none: this engine has no code for it", KEEP)
    if stage.optimizer is not None and stage.optimizer.ema is not None:
        yield Misfit("ema", "of the optimizer", "none: this engine keeps no average of the weights", KEEP)
    for name, init in stage.init.items():
        if init.average:
            yield Misfit("average", f"for {name}", "the parent's last weights: this engine reads no average", KEEP)
    if stage.optimizer is not None and stage.optimizer.skip is not None:
        yield Misfit("skip", "of the optimizer", "none: this engine makes every step", KEEP)
    if stage.optimizer is not None and stage.optimizer.groups:
        yield Misfit("groups", "of the optimizer", "none: this engine has one rate and one decay", KEEP)
    for name in numbers.scheduled(stage):
        yield Misfit(name, "by a schedule", "a number: this engine reads the learning rate's schedule alone", KEEP)
    for model in language_models(stage):
        if not model.NEMO:
            known = ", ".join(name for name, one in FAMILIES.items() if one.NEMO)
            yield Misfit("family", model.family, known, KEEP)
        elif model.ROUTED:
            yield from _routed(model)


def unturned(stage: Stage, parent: Stage) -> Iterator[Misfit]:
    """What the NeMo engine cannot evaluate before training: a language model's parent whose YaRN multiplies too."""
    if stage.execution.parallel is None or not stage.evaluation.names or parent.rope in (None, stage.rope):
        return
    if parent.rope.yarn is not None and multiplied(parent.rope):
        found = f"by {parent.rope.yarn.factor:g}, of the parent {parent.name}, which is evaluated before training"
        yield Misfit("yarn", found, "a parent whose positions multiply nothing", KEEP)


def _routed(model: LanguageModel) -> Iterator[Misfit]:
    """Core has no layer of routed experts without shared ones, and a router's load is a mean over routed layers."""
    mixture = model.parts.mixture
    if mixture is None:
        yield Misfit("dense_layers", f"{model.layers}, of {model.layers} layers", "fewer than layers", KEEP)
    elif not mixture.shared:
        yield Misfit("shared_experts", "0", "1 or more", KEEP)


def _tensors(model: LanguageModel, layout: Parallel) -> Iterator[Misfit]:
    """Each tensor parallel rank has whole heads, and as many columns, rows and words as the others."""
    sizes = {"hidden": model.hidden, "ffn": model.ffn, "heads": model.heads, "vocab": model.vocab}
    attention, mixture = model.parts.layers[0].attention, model.parts.mixture
    if isinstance(attention, Grouped):
        sizes["kv_heads"] = attention.kv_heads
    else:
        sizes["the latent's and the rotary key's width"] = attention.rank + attention.rope  # Core builds it divided
    if mixture is not None:
        sizes["shared experts' width"] = mixture.shared * mixture.ffn
    for name, size in sizes.items():
        if size % layout.tp:
            repair = f"Lower `tp` to a divisor of {size:,}."
            yield Misfit("tp", f"{layout.tp}, for {name} {size:,}", f"a divisor of {name}", repair)


def _layers(model: LanguageModel, layout: Parallel) -> Iterator[Misfit]:
    pieces = layout.pp * layout.vpp
    if model.layers % pieces:
        found, repair = f"{layout.pp} and vpp {layout.vpp}, for {model.layers} layers", "Change `pp` or `vpp`."
        yield Misfit("pp", found, "as many layers in each piece", repair)


def _experts(model: LanguageModel, layout: Parallel, ranks: int) -> Iterator[Misfit]:
    mixture = model.parts.mixture
    if mixture is None:
        return
    of_stage = ranks // layout.pp
    if mixture.experts % layout.ep:
        found, repair = f"{layout.ep}, for {mixture.experts} experts", "Change `ep`."
        yield Misfit("ep", found, f"a divisor of {mixture.experts}", repair)
    if of_stage % layout.ep:
        found, repair = f"{layout.ep}, for the {of_stage} ranks of a pipeline stage", "Change `ep`, or the ranks."
        yield Misfit("ep", found, f"a divisor of {of_stage}", repair)


def _rows(phase: Phase, layout: Parallel) -> Iterator[Misfit]:
    """Rows are cut into 2 * cp chunks, of which a rank has two (stages/engines/nemo/context.py), and by `tp` again."""
    chunks = 2 * layout.cp if layout.cp > 1 else 1
    if phase.context % chunks:
        found, repair = f"{layout.cp}, for rows of {phase.context:,} positions", "Lower `cp`."
        yield Misfit("cp", found, f"rows that are a multiple of {chunks}", repair)
    elif layout.sequence_parallel and phase.context // layout.cp % layout.tp:
        found = f"true, for {phase.context // layout.cp:,} positions on each of tp {layout.tp}"
        yield Misfit("sequence_parallel", found, f"a multiple of {layout.tp}", "Change `tp` or `cp`.")
