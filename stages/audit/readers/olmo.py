"""OLMo-core's official scripts: one function that builds an ExperimentConfig, read as text.

Names and defaults: allenai/OLMo-core fa6c5014c9f6, optim/scheduler.py, train/trainer.py, nn/transformer/config.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.audit.readers import python_source
from stages.audit.readers.changes import Change, changed
from stages.audit.readers.python_source import Call, Source
from stages.audit.readers.tables import picked, with_micro_batch
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, Value
from stages.errors import Where

MARKS = ("TrainerConfig(", "TransformerTrainModuleConfig(")  # both in the text of every script that trains
_LOADERS = ("NumpyDataLoaderConfig", "ComposableDataLoaderConfig")
_SETS = tuple(f"{kind}.{how}" for kind in ("NumpyFSLDatasetConfig", "NumpyPackedFSLDatasetConfig")
              for how in ("glob", "from_data_mix"))  # fmt: skip
_MODULES = ("TransformerTrainModuleConfig", "TransformerPipelineTrainModuleConfig")
_OPTIMIZERS = ("AdamWConfig", "SkipStepAdamWConfig", "AdamConfig", "LionConfig", "SkipStepLionConfig", "MuonConfig")
_SCHEDULES = {
    "CosWithWarmup": ("cosine", 0.1), "LinearWithWarmup": ("linear", 0.1), "HalfCosWithWarmup": ("half_cosine", 0.1),
    "ConstantScheduler": ("constant", None), "ConstantWithWarmup": ("constant", None), "WSD": ("wsd", None),
    "InvSqrtWithWarmup": (None, None), "CosWithWarmupAndLinearDecay": (None, None), "PowerLR": (None, None),
    "ComposableScheduler": (None, None),
}  # fmt: skip
# Layers, hidden, feed-forward, heads, groups of keys and values; the base of the rotary positions is 500,000 in all.
_MODELS = {"7B": (32, 4096, 11008, 32, 32), "13B": (40, 5120, 13824, 40, 40), "32B": (64, 5120, 27648, 40, 8)}
_MODULE, _TRAINER = "train_module", "trainer"
_LAUNCHED = {
    "lr": (f"{_MODULE}.optim.lr",), "weight_decay": (f"{_MODULE}.optim.weight_decay",),
    "eps": (f"{_MODULE}.optim.eps",),
    "clip": (f"{_MODULE}.max_grad_norm",), "micro_tokens": (f"{_MODULE}.rank_microbatch_size",),
    "context": ("sequence_length", f"{_MODULE}.max_sequence_length"),
    "warmup_steps": (f"{_MODULE}.scheduler.warmup", f"{_MODULE}.scheduler.warmup_steps"),
    "warmup_fraction": (f"{_MODULE}.scheduler.warmup_fraction",), "min_lr_ratio": (f"{_MODULE}.scheduler.alpha_f",),
    "decay_steps": (f"{_MODULE}.scheduler.t_max",), "batch_tokens": ("data_loader.global_batch_size",),
    "seed": ("data_loader.seed",), "save": ("save_folder", f"{_TRAINER}.save_folder"),
    "load": ("load_path", f"{_TRAINER}.load_path"), "load_trainer_state": (f"{_TRAINER}.load_trainer_state",),
    "load_optim_state": (f"{_TRAINER}.load_optim_state",),
    "save_every": (f"{_TRAINER}.callbacks.checkpointer.save_interval",), "layers": ("model.n_layers",),
    "hidden": ("model.d_model",), "heads": ("model.n_heads",), "kv_heads": ("model.n_kv_heads",),
}  # fmt: skip
_ROWS = tuple(f"TransformerContextParallelConfig.{kind}" for kind in ("llama3", "zig_zag", "ulysses"))
_SHAPE = ("layers", "hidden", "ffn", "heads", "kv_heads")
_ATTRIBUTES = {"layers": "n_layers", "hidden": "d_model", "heads": "n_heads", "kv_heads": "n_kv_heads",
               "rope_base": "rope_theta"}  # fmt: skip


def stages(text: str, name: str, changes: Sequence[Change] = ()) -> list[Stage]:
    """The run that a script builds, as it is launched. Text without a trainer is not parsed. Raises Unreadable."""
    if not all(mark in text for mark in MARKS):
        return []
    source = python_source.parse(text, name)
    trainer = _one(source, "TrainerConfig")
    if trainer is None:
        return []
    found = _trainer(source, trainer) | _module(source) | _schedule(source) | _model(source)
    for call in source.named(*_LOADERS):
        _take(source, call, found, {"batch_tokens": "global_batch_size", "seed": "seed"})
    found |= _data(source)
    _launched(found, changes)
    with_micro_batch(found)
    return [Stage(name, "olmo-core", trainer.where, found)]


def _launched(found: dict[str, Value], changes: Sequence[Change]) -> None:
    """What the launch line says: overrides of the configuration, and options of the script."""
    tree = changed(Tree({}, {}), changes)
    found |= picked(tree, _LAUNCHED)
    if "sequence_length" in {one.path[0] for one in changes}:
        found.pop("micro_tokens", None)  # mostly a multiple of it
    lengths = (("max_duration", "steps", "budget_tokens"), ("hard_stop", "stop_step", "stop_tokens"))
    for key, steps, tokens in lengths:
        value, unit = (tree.value(("trainer", key, one)) for one in ("value", "unit"))
        if value is not None:
            counts = (unit is not None and unit.value == "steps") or (unit is None and steps in found)
            figure, other = (steps, tokens) if counts else (tokens, steps)
            found.pop(other, None)
            found[figure] = value


def _data(source: Source) -> dict[str, Value]:
    """The tokenizer, and the files or the mix that the one data set of a script is made of."""
    found: dict[str, Value] = {}
    named = {one.name: one for one in source.calls if one.name.startswith("TokenizerConfig.")}
    if len(named) == 1:
        name, call = next(iter(named.items()))
        found["tokenizer"] = Value(name.partition(".")[2], call.where, name)
    sets = [one for one in source.calls if one.name in _SETS]
    if len(sets) == 1 and sets[0].node.args:
        values = [source.value(one, sets[0].inside, "data") for one in sets[0].node.args]
        names = tuple(str(one.value) for one in values if isinstance(one.value, str))
        if len(names) == len(values):
            found["data"] = Value(names, values[0].where, sets[0].name)
    return found


def _one(source: Source, *names: str) -> Call | None:
    calls = source.named(*names)
    return calls[0] if len(calls) == 1 else None


def _take(source: Source, call: Call, found: dict[str, Value], figures: dict[str, str]) -> None:
    """Keywords of a call as figures. One that is assigned to later, or given by two calls, is unknown."""
    for figure, keyword in figures.items():
        node = call.argument(keyword)
        if node is None:
            continue
        value = source.value(node, call.inside, keyword)
        if keyword in source.changed:
            line = source.changed[keyword]
            value = Value(None, Where(source.file, line), keyword, f"changed in line {line}")
        elif figure in found and found[figure].value != value.value:
            value = Value(None, value.where, keyword, "given twice")
        if value.value is not None or value.unknown is not None:
            found[figure] = value


def _trainer(source: Source, trainer: Call) -> dict[str, Value]:
    found: dict[str, Value] = {}
    _take(source, trainer, found, {
        "save": "save_folder", "load": "load_path", "load_trainer_state": "load_trainer_state",
        "load_optim_state": "load_optim_state",
    })  # fmt: skip
    experiment = _one(source, "ExperimentConfig")
    if experiment is not None and experiment.argument("load_path") is not None:
        # script_utils.main loads this path with load_trainer_state=False; the trainer's own is loaded as it says.
        _take(source, experiment, found, {"load": "load_path"})
        found["load_trainer_state"] = Value(False, found["load"].where, "ExperimentConfig.load_path")
    found |= _duration(source, trainer, "max_duration", {"tokens": "budget_tokens", "steps": "steps"}, "steps")
    found |= _duration(source, trainer, "hard_stop", {"tokens": "stop_tokens", "steps": "stop_step"}, "stop_step")
    for call in source.named("CheckpointerCallback"):
        _take(source, call, found, {"save_every": "save_interval"})
    for call in source.named("LMEvaluatorCallbackConfig"):
        _take(source, call, found, {"eval_every": "eval_interval"})
    return found


def _duration(source: Source, trainer: Call, key: str, units: dict[str, str], otherwise: str) -> dict[str, Value]:
    """A Duration: of tokens or steps. Epochs are unknown steps: they depend on the data."""
    node = trainer.argument(key)
    if node is None:
        return {}
    written = source.written(node, trainer.inside)
    call = source.call(written)
    unit = "" if call is None else call.name.removeprefix("Duration.")
    if call is None or unit not in units or len(call.node.args) != 1:
        reason = f"{unit or 'made by code'}: the length depends on what is not in this file"
        return {otherwise: Value(None, Where(source.file, node.lineno), key, reason)}
    return {units[unit]: source.value(call.node.args[0], call.inside, f"{key}={call.name}")}


def _module(source: Source) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for call in source.named(*_MODULES):
        _take(source, call, found, {
            "context": "max_sequence_length", "micro_tokens": "rank_microbatch_size", "clip": "max_grad_norm",
        })  # fmt: skip
    for call in source.named(*_OPTIMIZERS):
        _take(source, call, found, {"lr": "lr", "weight_decay": "weight_decay", "eps": "eps", "betas": "betas"})
    betas = found.pop("betas", None)
    if betas is not None and isinstance(betas.value, tuple) and len(betas.value) == 2:
        for figure, beta in zip(("beta1", "beta2"), betas.value, strict=True):
            found[figure] = Value(beta, betas.where, "betas")
    for call in source.named(*_ROWS):
        _take(source, call, found, {"cp": "degree"})
    for call in source.named("TransformerTensorParallelConfig"):
        _take(source, call, found, {"tp": "degree"})
    return found


def _schedule(source: Source) -> dict[str, Value]:
    """The scheduler's shape, its warm-up in steps, and its floor."""
    call = _one(source, *_SCHEDULES)
    if call is None:
        return {}
    found: dict[str, Value] = {}
    style, floor = _SCHEDULES[call.name]
    reason = None if style else f"the scheduler {call.name} is not modelled here"
    _take(source, call, found, {
        "warmup_steps": "warmup_steps", "warmup_fraction": "warmup_fraction", "warmup_init": "warmup_min_lr",
        "min_lr_ratio": "alpha_f", "decay_steps": "t_max", "wsd_steps": "decay_steps", "min_lr": "decay_min_lr",
        "wsd_fraction": "decay_fraction",
    })  # fmt: skip
    _take(source, call, found, {"warmup_steps": "warmup", "wsd_steps": "decay"})
    if call.argument("units") is not None:
        unknown = {
            key: Value(None, one.where, key, "the scheduler counts in other units") for key, one in found.items()
        }
        found = {key: one if key in {"min_lr_ratio", "min_lr"} else unknown[key] for key, one in found.items()}
    found["decay"] = Value(style, call.where, call.name, reason)
    if floor is not None:
        found.setdefault("min_lr_ratio", Value(floor, call.where, "alpha_f", default="alpha_f of the scheduler"))
    if style == "wsd":
        found.setdefault("min_lr", Value(0.0, call.where, "decay_min_lr", default="decay_min_lr of the scheduler"))
        found["wsd_decay"] = Value("linear", call.where, call.name)
        if "wsd_steps" not in found:
            found.setdefault("wsd_fraction", Value(0.1, call.where, "decay_fraction", default="the scheduler's"))
    return found


def _model(source: Source) -> dict[str, Value]:
    """The shape that a model's name stands for, and what is changed of its rotary positions."""
    names = [f"TransformerConfig.olmo{version}_{size}" for version in (2, 3) for size in _MODELS]
    call = _one(source, *names)
    found: dict[str, Value] = {}
    if call is not None:
        sizes = dict(zip(_SHAPE, _MODELS[call.name.rsplit("_", 1)[1]], strict=True)) | {"rope_base": 500_000}
        for figure, size in sizes.items():
            attribute = _ATTRIBUTES.get(figure, "")
            given = call.argument(attribute)
            found[figure] = Value(size, call.where, call.name)
            if attribute in source.changed:
                found[figure] = Value(None, call.where, call.name, f"{attribute} is changed")
            elif given is not None:
                found[figure] = source.value(given, call.inside, attribute)
        found["gated"] = Value(True, call.where, call.name)
        found["architecture"] = Value(call.name.partition(".")[2].partition("_")[0], call.where, call.name)
    for scaling in source.named("YaRNRoPEScalingConfig"):
        found["rope_type"] = Value("yarn", scaling.where, scaling.name)
        _take(source, scaling, found, {"rope_factor": "factor", "rope_original": "old_context_len"})
    return found
