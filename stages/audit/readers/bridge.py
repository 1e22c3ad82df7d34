"""Megatron-Bridge's ConfigContainer as YAML: whole, or as what is changed of a recipe in Python (Nemotron's steps).

The keys: NVIDIA-NeMo/Megatron-Bridge 067f987df, src/megatron/bridge/training/config.py; the files over a recipe:
NVIDIA-NeMo/Nemotron e27b3713, src/nemotron/recipes.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.readers.tables import picked, run
from stages.audit.readers.tree import Path, Tree, values
from stages.audit.recipe import Stage, Value
from stages.printable import printable

FIGURES = {
    "steps": ("train.train_iters",), "exit_every": ("train.exit_interval",), "samples": ("train.train_samples",),
    "batch": ("recipe.global_batch_size", "train.global_batch_size"),
    "micro_batch": ("recipe.micro_batch_size", "train.micro_batch_size"), "ramp": ("train.rampup_batch_size",),
    "eval_every": ("train.eval_interval", "validation.eval_interval"),
    "eval_steps": ("train.eval_iters", "validation.eval_iters"),
    "context": ("recipe.seq_length", "model.seq_length", "dataset.sequence_length", "dataset.seq_length"),
    "lr": ("optimizer.lr",), "min_lr": ("optimizer.min_lr",), "weight_decay": ("optimizer.weight_decay",),
    "clip": ("optimizer.clip_grad",), "beta1": ("optimizer.adam_beta1",), "beta2": ("optimizer.adam_beta2",),
    "eps": ("optimizer.adam_eps",), "optimizer": ("optimizer.optimizer",),
    "bf16": ("optimizer.bf16",), "fp16": ("optimizer.fp16",),
    "decay": ("scheduler.lr_decay_style",), "decay_steps": ("scheduler.lr_decay_iters",),
    "decay_samples": ("scheduler.lr_decay_samples",), "warmup_steps": ("scheduler.lr_warmup_iters",),
    "warmup_samples": ("scheduler.lr_warmup_samples",), "warmup_fraction": ("scheduler.lr_warmup_fraction",),
    "warmup_init": ("scheduler.lr_warmup_init",), "wsd_steps": ("scheduler.lr_wsd_decay_iters",),
    "wsd_decay": ("scheduler.lr_wsd_decay_style",), "override_scheduler": ("scheduler.override_opt_param_scheduler",),
    "scheduler_from_checkpoint": ("scheduler.use_checkpoint_opt_param_scheduler",),
    "weight_decay_start": ("scheduler.start_weight_decay",), "weight_decay_end": ("scheduler.end_weight_decay",),
    "layers": ("model.num_layers",), "hidden": ("model.hidden_size",), "ffn": ("model.ffn_hidden_size",),
    "heads": ("model.num_attention_heads",), "kv_heads": ("model.num_query_groups",),
    "head_dim": ("model.kv_channels",), "vocab": ("model.vocab_size",), "rope_base": ("model.rotary_base",),
    "uneven_layout": ("model.pipeline_model_parallel_layout",), "uneven_pattern": ("model.hybrid_layer_pattern",),
    "uneven_first": ("model.num_layers_in_first_pipeline_stage",),
    "uneven_last": ("model.num_layers_in_last_pipeline_stage",),
    "uneven_embedding": ("model.account_for_embedding_in_pipeline_split",),
    "uneven_loss": ("model.account_for_loss_in_pipeline_split",),
    "experts": ("model.num_moe_experts",), "experts_per_token": ("model.moe_router_topk",),
    "expert_ffn": ("model.moe_ffn_hidden_size",), "aux_loss": ("model.moe_aux_loss_coeff",),
    "router_bias": ("model.moe_router_bias_update_rate",), "recipe": ("recipe._target_",),
    "architecture": ("model._target_",), "norm_eps": ("model.layernorm_epsilon",),
    "data_context": ("dataset.sequence_length", "dataset.seq_length"), "model_context": ("model.seq_length",),
    "weight_decay_style": ("scheduler.weight_decay_incr_style",),
    "tied": ("model.share_embeddings_and_output_weights",),
    "mixed": ("mixed_precision",), "gated": ("model.gated_linear_unit",),
    "attention_dropout": ("model.attention_dropout",), "hidden_dropout": ("model.hidden_dropout",),
    "tp": ("recipe.tensor_model_parallel_size", "model.tensor_model_parallel_size"),
    "pp": ("recipe.pipeline_model_parallel_size", "model.pipeline_model_parallel_size"),
    "cp": ("recipe.context_parallelism", "recipe.context_parallel_size", "model.context_parallel_size"),
    "ep": ("recipe.expert_model_parallelism", "model.expert_model_parallel_size"),
    "save": ("checkpoint.save",), "save_every": ("checkpoint.save_interval",), "load": ("checkpoint.load",),
    "load_step": ("checkpoint.ckpt_step",), "pretrained": ("checkpoint.pretrained_checkpoint",),
    "finetune": ("checkpoint.finetune",), "load_optim": ("checkpoint.load_optim",),
    "tokenizer": ("tokenizer.tokenizer_model",), "seed": ("rng.seed", "dataset.random_seed"),
}  # fmt: skip
_MARKS = frozenset({("train", "train_iters"), ("train", "train_samples"), ("train", "global_batch_size"),
                    ("scheduler", "lr_decay_iters"), ("scheduler", "lr_warmup_iters"), ("optimizer", "lr"),
                    ("checkpoint", "save"), ("checkpoint", "load"), ("checkpoint", "pretrained_checkpoint"),
                    ("model", "seq_length"), ("model", "num_layers")})  # fmt: skip
_LAYOUT = ("tp", "pp", "cp", "ep", "decay", "min_lr", "lr", "warmup_steps", "steps", "batch")
_OTHERS = frozenset({"eval_iters", "save_rng", "load_rng", "lr_decay_style"})


RECIPES = "megatron.bridge."  # begins the name of a recipe in Python


def _recipe(tree: Tree) -> Value | None:
    named = tree.value(("recipe", "_target_"))
    return named if named is not None and str(named.value).startswith(RECIPES) else None


def _result(tree: Tree, found: dict[str, Value]) -> None:
    """A parent that a step names by the name of a result: the last part of the folder that its maker saves to."""
    parent = tree.value(("run", "model"))
    for key in ("pretrained", "load"):
        value = found.get(key)
        if parent is not None and isinstance(parent.value, str) and value is not None and value.unknown is not None:
            named = replace(parent, value=parent.value.partition(":")[0])
            found[key] = found["result"] = named


def _blend(tree: Tree) -> dict[str, Value]:
    """Data sets and their weights, as two lists: `blend: [[a, b], [0.7, 0.3]]`; without weights, the first alone."""
    path: Path = ("dataset", "blend")
    paths, weights = values(tree, (*path, 0)), values(tree, (*path, 1))
    if not paths:
        return {}
    shares = {"data_weights": Value(weights, tree.places[(*path, 1)], "dataset.blend")} if weights else {}
    return shares | {"data": Value(tuple(map(str, paths)), tree.places[(*path, 0)], "dataset.blend")}


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a ConfigContainer, or of a file that names a recipe and changes it.

    What a recipe in Python decides and the file does not change is unknown, not a default.
    """
    recipe = _recipe(tree)
    if len(_MARKS & set(tree.places)) < (3 if recipe is None else 1):
        return []
    found = picked(tree, FIGURES)
    optim = found.pop("load_optim", None)
    if optim is not None and optim.value is False:
        found["no_load_optim"] = Value(True, optim.where, optim.key)
    mixed = found.pop("mixed", None)
    if mixed is not None and str(mixed.value).startswith(("bf16", "fp16")):
        found.setdefault(str(mixed.value)[:4], Value(True, mixed.where, mixed.key))
    found |= _blend(tree)
    _result(tree, found)
    for figure in _LAYOUT if recipe is not None else ():
        why = f"set by {printable(str(recipe.value))}, which is not in this file" if recipe is not None else ""
        found.setdefault(figure, Value(None, tree.places["recipe", "_target_"], figure, why))
    return run(tree, name, "megatron-bridge", found, FIGURES, _OTHERS)
