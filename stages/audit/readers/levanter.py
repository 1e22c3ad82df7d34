"""Levanter's YAML: sections `data`, `model`, `trainer`, `optimizer`; a warm-up below 1 is a share of the run.

The meaning of each key: marin-community/levanter 9263f81e, src/levanter/trainer.py, main/train_lm.py and
optim/config.py.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.readers.tables import count, picked, run
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, Value, is_number

FIGURES = {
    "layers": ("model.num_layers",), "hidden": ("model.hidden_dim",), "heads": ("model.num_heads",),
    "kv_heads": ("model.num_kv_heads",), "ffn": ("model.intermediate_dim",), "norm_eps": ("model.layer_norm_epsilon",),
    "rope_base": ("model.rope.theta",), "model_context": ("model.seq_len", "model.max_seq_len"),
    "batch": ("trainer.train_batch_size",), "steps": ("trainer.num_train_steps",),
    "eval_every": ("trainer.steps_per_eval",), "save": ("trainer.checkpointer.base_path",),
    "load": ("trainer.load_checkpoint_path", "trainer.initialize_from", "initialize_from_checkpoint_path"),
    "pretrained": ("initialize_from_hf", "model_name_or_path"), "tokenizer": ("data.tokenizer", "tokenizer"),
    "seed": ("trainer.seed",), "lr": ("optimizer.learning_rate",), "weight_decay": ("optimizer.weight_decay",),
    "beta1": ("optimizer.beta1",), "beta2": ("optimizer.beta2",), "eps": ("optimizer.epsilon",),
    "clip": ("optimizer.max_grad_norm",), "min_lr_ratio": ("optimizer.min_lr_ratio",),
    "decay": ("optimizer.lr_schedule",),
}  # fmt: skip
_OTHERS = frozenset({"rewarmup", "train_seq_len", "lr_schedule", "num_layers", "data_seed"})


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a TrainLmConfig."""
    if not {("trainer", "num_train_steps"), ("optimizer",), ("model",)} <= set(tree.places):
        return []
    found = picked(tree, FIGURES)
    if "pretrained" in found and isinstance(found["pretrained"].value, bool):
        del found["pretrained"]  # the model that the class is made after
    context = tree.value(("train_seq_len",)) or tree.value(("max_seq_len",)) or found.get("model_context")
    if context is not None:
        found["context"] = context
    _lengths(tree, found)
    return run(tree, name, "levanter", found, FIGURES, _OTHERS)


def _lengths(tree: Tree, found: dict[str, Value]) -> None:
    """Warm-up and decay: shares of the run below 1, else steps. With cycles nothing is known of the schedule."""
    for key, share, steps in (("warmup", "warmup_fraction", "warmup_steps"), ("decay", "", "wsd_steps")):
        value = tree.value(("optimizer", key))
        if value is None or not is_number(value.value):
            continue
        part, run = value.value < 1, count(found, "steps")
        if part and share:
            found[share] = value
        elif part:
            found[steps] = replace(value, value=None if run is None else int(value.value * run))
        else:
            found[steps] = value
    style = found.get("decay")
    if "wsd_steps" in found:
        found["wsd_decay"] = style or Value("cosine", found["wsd_steps"].where, "lr_schedule", default="cosine")
        found["decay"] = replace(found["wsd_steps"], value="wsd")
    cycled = next(
        (key for key in ("cycles", "cycle_length", "haps", "cooldown") if ("optimizer", key) in tree.places), ""
    )
    if cycled or (style is not None and style.value not in {"cosine", "linear", "constant"}):
        where = tree.places["optimizer", cycled] if cycled else found["decay"].where
        found["decay"] = Value(None, where, cycled or "lr_schedule", "the schedule is not modelled here")
