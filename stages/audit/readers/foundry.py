"""MosaicML's llm-foundry: the YAML of `composer train.py a.yaml`, whose lengths are `2000ba`, `1ep` or `40000tok`.

The meaning of each key: mosaicml/llm-foundry 8c8dd48f7, llmfoundry/utils/config_utils.py and builders.py; the
schedulers and what a checkpoint contains: mosaicml/composer 640518880, optim/scheduler.py and core/state.py.
"""

from __future__ import annotations

import re

from stages.audit.readers.tables import betas, count, decay, picked, run
from stages.audit.readers.tree import Tree, followed
from stages.audit.recipe import Stage, Value, number

FIGURES = {
    "layers": ("model.n_layers",), "hidden": ("model.d_model",), "heads": ("model.n_heads",),
    "vocab": ("model.vocab_size",), "model_context": ("model.max_seq_len",),
    "data_context": ("train_loader.dataset.max_seq_len",), "context": ("max_seq_len",),
    "pretrained": ("model.pretrained_model_name_or_path",), "tokenizer": ("tokenizer.name",),
    "optimizer": ("optimizer.name",), "lr": ("optimizer.lr",), "weight_decay": ("optimizer.weight_decay",),
    "eps": ("optimizer.eps",), "scheduler": ("scheduler.name",), "min_lr_ratio": ("scheduler.alpha_f",),
    "clip": ("algorithms.gradient_clipping.clipping_threshold",), "batch": ("global_train_batch_size",),
    "micro_batch": ("device_train_microbatch_size",), "save": ("save_folder",), "load": ("load_path",),
    "weights_only": ("load_weights_only",), "load_ignored": ("load_ignore_keys",),
    "save_only_model": ("save_weights_only",), "keep": ("save_num_checkpoints_to_keep",), "seed": ("seed",),
}  # fmt: skip
_STYLES = {"cosine_with_warmup": "cosine", "linear_decay_with_warmup": "linear", "constant_with_warmup": "constant"}
_OTHERS = frozenset({"run_name", "device_eval_batch_size", "device_train_batch_size", "hf_name", "save_filename"})
_TIME = re.compile(r"([\d.]+)\s*(ba|ep|tok|dur|sp)")


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a TrainConfig; loaders alone (an evaluation) are none."""
    if not {("train_loader",), ("optimizer",), ("max_duration",), ("scheduler",)} <= set(tree.places):
        return []
    tree = followed(tree)
    found = picked(tree, FIGURES) | betas(tree, ("optimizer", "betas"))
    style = found.get("scheduler")
    if style is not None:
        found["decay"] = decay(style, _STYLES)
    lengths = {"max_duration": "steps", "eval_interval": "eval_every", "save_interval": "save_every",
               "scheduler.t_warmup": "warmup", "scheduler.t_max": "decay"}  # fmt: skip
    for key, figure in lengths.items():
        _time(tree, key, figure, found)
    for figure, loader in (("data", "train_loader"), ("eval_data", "eval_loader")):
        if (sets := _sets(tree, loader)) is not None:
            found[figure] = sets
    for precision in ("bf16", "fp16"):
        stated = tree.value(("precision",))
        if stated is not None and str(stated.value).endswith(precision):
            found[precision] = Value(True, stated.where, "precision")
    kind = tree.value(("train_loader", "name"))
    if kind is not None:
        found["objective"] = Value("sft" if kind.value == "finetuning" else "pt", kind.where, kind.key, derived=True)
    return run(tree, name, "llm-foundry", found, FIGURES, _OTHERS)


def _time(tree: Tree, key: str, figure: str, found: dict[str, Value]) -> None:
    """A length in Composer's units as a figure: batches are steps, tokens become steps, `0.1dur` is a share."""
    value = tree.value(tuple(key.split(".")))
    match = _TIME.fullmatch(str(value.value)) if value is not None else None
    amount = None if match is None else number(match[1])
    if value is None or match is None or amount is None:
        return
    in_steps = {"warmup": "warmup_steps", "decay": "decay_steps"}.get(figure, figure)
    size = (count(found, "batch") or 0) * (count(found, "context") or 0)
    if match[2] == "ba":
        found[in_steps] = Value(int(amount), value.where, value.key)
    elif match[2] == "tok" and size:
        found[in_steps] = Value(-(-int(amount) // size), value.where, value.key)
    elif match[2] == "ep" and figure == "steps":
        found["epochs"] = Value(amount, value.where, value.key)
    elif match[2] == "dur" and figure == "warmup":
        found["warmup_fraction"] = Value(amount, value.where, value.key)
    elif not (match[2] == "dur" and figure == "decay" and amount == 1):
        found[in_steps] = Value(None, value.where, value.key, f"{value.value} depends on what is not in this file")


def _sets(tree: Tree, loader: str) -> Value | None:
    """The data set of a loader, with its split."""
    parts = [tree.value((loader, "dataset", one)) for one in ("remote", "local", "hf_name", "split")]
    stated = [one for one in parts if one is not None]
    if not stated or any(one.value is None for one in stated):
        return None
    return Value((" ".join(str(one.value) for one in stated),), stated[-1].where, f"{loader}.dataset")
