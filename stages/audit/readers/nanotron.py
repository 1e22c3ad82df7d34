"""nanotron's YAML: one run whose data may change at given steps; everything counts from the run's first step.

The meaning of each key: huggingface/nanotron 2411b022, src/nanotron/config/config.py and helpers.py
(lr_scheduler_builder).
"""

from __future__ import annotations

from stages.audit.readers.tables import count, picked, run
from stages.audit.readers.tree import Tree, read, values
from stages.audit.recipe import Stage, Value

_LR = "optimizer.learning_rate_scheduler"
_MODEL = "model.model_config"
FIGURES = {
    "steps": ("tokens.train_steps",), "context": ("tokens.sequence_length",),
    "micro_batch": ("tokens.micro_batch_size",), "accumulation": ("tokens.batch_accumulation_per_replica",),
    "eval_every": ("tokens.val_check_interval",), "eval_steps": ("tokens.limit_val_batches",),
    "replicas": ("parallelism.dp",), "tp": ("parallelism.tp",), "pp": ("parallelism.pp",),
    "cp": ("parallelism.context_parallel_size",), "ep": ("parallelism.expert_parallel_size",),
    "lr": (f"{_LR}.learning_rate",), "min_lr": (f"{_LR}.min_decay_lr",), "decay": (f"{_LR}.lr_decay_style",),
    "decay_start": (f"{_LR}.lr_decay_starting_step",), "decay_length": (f"{_LR}.lr_decay_steps",),
    "warmup_steps": (f"{_LR}.lr_warmup_steps",), "weight_decay": ("optimizer.weight_decay",),
    "clip": ("optimizer.clip_grad",), "beta1": ("optimizer.optimizer_factory.adam_beta1",),
    "beta2": ("optimizer.optimizer_factory.adam_beta2",), "eps": ("optimizer.optimizer_factory.adam_eps",),
    "save": ("checkpoints.checkpoints_path", "s3_upload.upload_s3_path"),
    "save_every": ("checkpoints.checkpoint_interval",), "load": ("checkpoints.resume_checkpoint_path",),
    "load_lr_scheduler": ("checkpoints.load_lr_scheduler",), "load_optimizer": ("checkpoints.load_optimizer",),
    "layers": (f"{_MODEL}.num_hidden_layers",), "hidden": (f"{_MODEL}.hidden_size",),
    "ffn": (f"{_MODEL}.intermediate_size",), "heads": (f"{_MODEL}.num_attention_heads",),
    "kv_heads": (f"{_MODEL}.num_key_value_heads",), "vocab": (f"{_MODEL}.vocab_size",),
    "max_positions": (f"{_MODEL}.max_position_embeddings",), "rope_base": (f"{_MODEL}.rope_theta",),
    "norm_eps": (f"{_MODEL}.rms_norm_eps",), "tied": (f"{_MODEL}.tie_word_embeddings",),
    "init_std": ("model.init_method.std",),
    "tokenizer": ("tokenizer.tokenizer_name_or_path",), "seed": ("general.seed",),
}  # fmt: skip
_OTHERS = frozenset({"lr_warmup_style", "use_cache", "head_dim"})


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run, its rate as the schedule that nanotron's builder makes of the keys."""
    if not {("tokens", "train_steps"), ("optimizer",), ("parallelism",)} <= set(tree.places):
        return []
    found = picked(tree, FIGURES)
    _schedule(found)
    if (biased := tree.value(("model", "model_config", "is_qwen2_config"))) is not None and biased.value is True:
        found["architecture"] = Value("is_qwen2_config", biased.where, biased.key)
    gated = tree.value(("model", "model_config", "hidden_act"))
    if gated is not None and gated.value == "silu":
        found["gated"] = Value(True, gated.where, gated.key)
    found |= _data(tree)
    return run(tree, name, "nanotron", found, FIGURES, _OTHERS)


def _schedule(found: dict[str, Value]) -> None:
    """The decay from its first step to its last. Without a length it takes the run's less the warm-up, wherever it
    begins: with a later first step it then ends after the run (config.py, Config.__post_init__)."""
    lr, steps = found.get("lr"), found.get("steps")
    if lr is not None:
        found.setdefault("min_lr", Value(lr.value, lr.where, "min_decay_lr", default="the rate itself"))
        found.setdefault("decay", Value("linear", lr.where, "lr_decay_style", default="linear"))
    warmup, start, length = (count(found, one) for one in ("warmup_steps", "decay_start", "decay_length"))
    run = count(found, "steps")
    first = start if start is not None else warmup or 0
    if length is None and run is not None:
        length = run - (warmup or 0)
    stated = found.pop("decay_length", None) or found.get("decay_start") or steps
    if length is not None and stated is not None:
        found["decay_steps"] = Value(first + length, stated.where, stated.key)


def _data(tree: Tree) -> dict[str, Value]:
    """The mixtures of every data stage, and the step from which each is read."""
    found: dict[str, Value] = {}
    number = 0
    while ("data_stages", number) in tree.places:
        suffix = "" if number == 0 else f"_{number + 1}"
        for figure, key in (("data", "dataset_folder"), ("data_weights", "dataset_weights")):
            path = ("data_stages", number, "data", "dataset", key)
            if listed := values(tree, path):
                found[figure + suffix] = Value(listed, tree.places[path], key)
        start = ("data_stages", number, "start_training_step")
        if (leaf := tree.leaves.get(start)) is not None:
            found["data_from" + suffix] = Value(read(leaf), leaf.where, "start_training_step")
        number += 1
    base = ("data_stages", 0, "data", "dataset")
    for figure, key in (("data_vocab", "vocab_size"), ("token_bytes", "token_size_in_bytes"),
                        ("data_tokenizer", "tokenizer_name")):  # fmt: skip
        value = tree.value((*base, key), key)
        if value is not None:
            found[figure] = value
    return found
