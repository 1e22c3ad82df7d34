"""What Megatron-LM's flags mean in a recipe: flag → figure; and files that have them as a mapping.

NVIDIA/Megatron-LM d98e8a64, tests/functional_tests: `MODEL_ARGS: {--train-iters: 1000}`, where a flag with `true` is
one without a value, and with `false` it is none.
"""

from __future__ import annotations

from stages.audit.readers.tables import blend
from stages.audit.readers.tree import Path, Tree
from stages.audit.recipe import PATHS, Stage, Value, scalar
from stages.errors import Where
from stages.printable import printable

FIGURES = {
    "--train-iters": "steps", "--train-samples": "samples", "--global-batch-size": "batch",
    "--step-batch-size-schedule": "batch_schedule", "--micro-batch-size": "micro_batch",
    "--seq-length": "context", "--max-position-embeddings": "max_positions",
    "--num-layers": "layers", "--hidden-size": "hidden", "--ffn-hidden-size": "ffn",
    "--num-attention-heads": "heads", "--num-query-groups": "kv_heads", "--kv-channels": "head_dim",
    "--padded-vocab-size": "vocab", "--rotary-base": "rope_base", "--rope-scaling-factor": "rope_factor",
    "--rotary-seq-len-interpolation-factor": "rope_interpolation",
    "--lr": "lr", "--min-lr": "min_lr", "--lr-warmup-iters": "warmup_steps", "--lr-warmup-samples": "warmup_samples",
    "--lr-warmup-fraction": "warmup_fraction", "--lr-warmup-init": "warmup_init",
    "--lr-decay-iters": "decay_steps", "--lr-decay-samples": "decay_samples", "--lr-decay-style": "decay",
    "--lr-wsd-decay-iters": "wsd_steps", "--lr-wsd-decay-samples": "wsd_samples", "--lr-wsd-decay-style": "wsd_decay",
    "--weight-decay": "weight_decay", "--clip-grad": "clip", "--adam-beta1": "beta1", "--adam-beta2": "beta2",
    "--adam-eps": "eps", "--optimizer": "optimizer", "--start-weight-decay": "weight_decay_start",
    "--end-weight-decay": "weight_decay_end", "--weight-decay-incr-style": "weight_decay_style",
    "--attention-dropout": "attention_dropout", "--hidden-dropout": "hidden_dropout", "--seed": "seed",
    "--init-method-std": "init_std",
    "--tensor-model-parallel-size": "tp", "--pipeline-model-parallel-size": "pp", "--context-parallel-size": "cp",
    "--expert-model-parallel-size": "ep", "--num-experts": "experts", "--moe-router-topk": "experts_per_token",
    "--moe-ffn-hidden-size": "expert_ffn",
    "--moe-aux-loss-coeff": "aux_loss", "--moe-router-bias-update-rate": "router_bias", "--window-size": "window",
    "--kv-lora-rank": "kv_lora_rank", "--qk-head-dim": "qk_nope_dim", "--qk-pos-emb-head-dim": "qk_rope_dim",
    "--v-head-dim": "v_head_dim", "--moe-router-topk-scaling-factor": "routed_scale",
    "--moe-shared-expert-intermediate-size": "shared_ffn", "--norm-epsilon": "norm_eps",
    "--save": "save", "--load": "load", "--pretrained-checkpoint": "pretrained", "--ckpt-step": "load_step",
    "--save-interval": "save_every", "--persistent-save-interval": "save_every",
    "--save-retain-interval": "retain_every",
    "--split": "split", "--ckpt-format": "ckpt_format", "--dataloader-type": "loader",
    "--eval-interval": "eval_every", "--exit-interval": "exit_every", "--eval-iters": "eval_steps",
    "--tokenizer-model": "tokenizer", "--tokenizer-type": "tokenizer_type", "--vocab-size": "tokenizer_vocab",
    "--pipeline-model-parallel-layout": "uneven_layout", "--decoder-first-pipeline-num-layers": "uneven_first",
    "--decoder-last-pipeline-num-layers": "uneven_last", "--hybrid-layer-pattern": "uneven_pattern",
    "--hybrid-override-pattern": "uneven_override",
    "--loss-scale": "loss_scale", "--initial-loss-scale": "initial_loss_scale",
}  # fmt: skip
SWITCHES = {
    "--bf16": "bf16", "--fp16": "fp16", "--finetune": "finetune", "--no-load-optim": "no_load_optim",
    "--no-load-rng": "no_load_rng", "--override-opt_param-scheduler": "override_scheduler",
    "--override-opt-param-scheduler": "override_scheduler",
    "--use-checkpoint-opt_param-scheduler": "scheduler_from_checkpoint",
    "--use-checkpoint-opt-param-scheduler": "scheduler_from_checkpoint",
    "--use-checkpoint-args": "args_from_checkpoint", "--use-rope-scaling": "rope_llama3",
    "--sft": "sft",
    "--untie-embeddings-and-output-weights": "untied", "--swiglu": "gated", "--sequence-parallel": "sequence_parallel",
    "--group-query-attention": "grouped_queries", "--mock-data": "mock_data",
    "--use-distributed-optimizer": "distributed_optimizer", "--no-save-optim": "no_save_optim",
    "--reset-attention-mask": "document_mask", "--qk-layernorm": "qk_norm", "--add-qkv-bias": "qkv_bias",
    "--multi-latent-attention": "latent", "--account-for-embedding-in-pipeline-split": "uneven_embedding",
    "--account-for-loss-in-pipeline-split": "uneven_loss", "--decrease-batch-size-if-needed": "rounds_batch",
}  # fmt: skip
LISTS = {
    "--rampup-batch-size": "ramp",
    "--data-path": "data",
    "--train-data-path": "data",
    "--valid-data-path": "eval_data",
}
MARKS = frozenset({"--train-iters", "--train-samples", "--micro-batch-size", "--global-batch-size", "--num-layers",
                   "--hidden-size", "--seq-length", "--lr-decay-style", "--tensor-model-parallel-size"})  # fmt: skip
TRAINS = frozenset({"--train-iters", "--train-samples", "--lr"})  # one of them: a model that only answers has none


_SECTION = "MODEL_ARGS"


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run that the mapping describes: three settings of a run that trains."""
    flags = set(map(str, tree.below((_SECTION,))))
    if len(flags & MARKS) < 3 or not flags & TRAINS:
        return []
    values: dict[str, Value] = {}
    for flag in sorted(flags):
        path: Path = (_SECTION, flag)
        value = tree.value(path, flag)
        if value is None or value.value is False:
            continue
        if flag in SWITCHES:
            values[SWITCHES[flag]] = Value(True, value.where, flag)
        elif flag in LISTS:
            values |= _listed(flag, value)
        elif flag in FIGURES:
            kept = FIGURES[flag] in PATHS and value.unknown is not None
            text = printable(tree.leaves[path].text or "")
            values[FIGURES[flag]] = Value(text, value.where, flag) if kept else value
    where = tree.places.get((_SECTION,), Where(name, 1))
    return [Stage(name, "megatron-lm", where, tuned(values))]


def tuned(values: dict[str, Value]) -> dict[str, Value]:
    """The figures with what `--sft` says: that answers are learned."""
    tuning = values.pop("sft", None)
    return values if tuning is None else values | {"objective": Value("sft", tuning.where, tuning.key)}


def _listed(flag: str, value: Value) -> dict[str, Value]:
    words = str(value.value).split() if value.unknown is None else []
    if LISTS[flag] == "ramp":
        return {"ramp": Value(tuple(map(scalar, words)), value.where, flag)}
    mixed = blend(words)
    if mixed is None:
        return {LISTS[flag]: Value(tuple(words) or None, value.where, flag, value.unknown)}
    shares = {} if LISTS[flag] == "eval_data" else {"data_weights": Value(mixed[0], value.where, flag)}
    return shares | {LISTS[flag]: Value(mixed[1], value.where, flag)}
