"""OLMo's YAML, the trainer before OLMo-core: one run, whose length and schedule count steps or tokens.

The meaning of each key: allenai/OLMo 59a53e3f, olmo/config.py, olmo/optim.py and olmo/train.py (max_steps,
load_trainer_state_dict).
"""

from __future__ import annotations

import re

from stages.audit.readers.tables import betas, count, decay, picked, run, units
from stages.audit.readers.tree import Tree, followed, values
from stages.audit.recipe import Stage, Value, number

FIGURES = {
    "layers": ("model.n_layers",), "hidden": ("model.d_model",), "heads": ("model.n_heads",),
    "kv_heads": ("model.n_kv_heads",), "vocab": ("model.vocab_size", "model.embedding_size"),
    "data_vocab": ("model.vocab_size",), "rope_base": ("model.rope_theta",), "context": ("model.max_sequence_length",),
    "norm_eps": ("model.layer_norm_eps",), "tied": ("model.weight_tying",), "init_std": ("model.init_std",),
    "lr": ("optimizer.learning_rate",), "weight_decay": ("optimizer.weight_decay",), "eps": ("optimizer.eps",),
    "scheduler": ("scheduler.name",), "min_lr_ratio": ("scheduler.alpha_f",),
    "warmup_init": ("scheduler.warmup_min_lr",), "clip": ("max_grad_norm",), "batch": ("global_train_batch_size",),
    "micro_batch": ("device_train_microbatch_size",),
    "stop_step": ("stop_at",), "eval_every": ("eval_interval",), "seed": ("seed",), "save": ("save_folder",),
    "load": ("load_path",), "reset_optimizer": ("reset_optimizer_state",), "reset_trainer": ("reset_trainer_state",),
    "restore_dataloader": ("restore_dataloader",), "tokenizer": ("tokenizer.identifier",),
}  # fmt: skip
_STYLES = {"cosine_with_warmup": "cosine", "linear_with_warmup": "linear", "constant": "constant",
           "constant_with_warmup": "constant"}  # fmt: skip
_OTHERS = frozenset({"save_interval_ephemeral", "epoch", "layer_norm_type", "warmup_min_lr", "stop_after"})
_TOKENS = re.compile(r"([\d.eE+_]+)\s*T")
_EPOCHS = re.compile(r"(\d+)\s*ep")


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a TrainConfig."""
    if not {("model", "d_model"), ("optimizer",), ("global_train_batch_size",), ("max_duration",)} <= set(tree.places):
        return []
    tree = followed(tree)
    found = picked(tree, FIGURES) | betas(tree, ("optimizer", "betas"))
    _schedule(tree, found)
    _length(tree, found)
    _saves(tree, found)
    paths = ("data", "paths")
    if listed := values(tree, paths):
        found["data"] = Value(tuple(map(str, listed)), tree.places[paths], "data.paths")
    return run(tree, name, "olmo", found, FIGURES, _OTHERS)


def _step(found: dict[str, Value]) -> int | None:
    """Tokens of a step."""
    batch, context = count(found, "batch"), count(found, "context")
    return batch * context if batch and context else None


def _schedule(tree: Tree, found: dict[str, Value]) -> None:
    """The shape, and its lengths in steps; lengths in tokens become steps where they are known."""
    style = found.get("scheduler")
    if style is not None:
        found["decay"] = decay(style, _STYLES)
    unit = tree.value(("scheduler", "units"))
    size = 1 if unit is None or unit.value == "steps" else _step(found)
    for figure, key in (("warmup_steps", "t_warmup"), ("decay_steps", "t_max")):
        value = tree.value(("scheduler", key))
        if value is not None:
            found[figure] = units(value, size)
    if "warmup_init" not in found and isinstance(rate := found["lr"].value if "lr" in found else None, float):
        found["warmup_init"] = Value(rate / 10, found["lr"].where, "warmup_min_lr", default="a tenth of the rate")


def _length(tree: Tree, found: dict[str, Value]) -> None:
    """`max_duration`: a number of steps, `50e9T` tokens, `1ep` epochs."""
    value = tree.value(("max_duration",))
    if value is None:
        return
    text = str(value.value)
    if match := _TOKENS.fullmatch(text):
        tokens, size = number(match[1]), _step(found)
        found["budget_tokens"] = Value(None if tokens is None else int(tokens), value.where, value.key)
        steps = None if tokens is None or size is None else -(-int(tokens) // size)
        found["steps"] = Value(steps, value.where, value.key, derived=True)
    elif match := _EPOCHS.fullmatch(text):
        found["epochs"] = Value(int(match[1]), value.where, value.key)
    else:
        found["steps"] = units(value, 1)


def _saves(tree: Tree, found: dict[str, Value]) -> None:
    """The steps between checkpoints, and how many are kept, where whole and sharded ones are kept alike."""
    sharded, whole = (tree.value((f"save_interval{one}",)) for one in ("", "_unsharded"))
    keep = [tree.value((f"save_num_{one}checkpoints_to_keep",)) for one in ("", "unsharded_")]
    if sharded is not None and (whole is None or whole.value == sharded.value):
        found["save_every"] = sharded
    if keep[0] is not None and keep[0].value != 0 and (whole is None or keep[1] is None):
        found["keep"] = keep[0]
