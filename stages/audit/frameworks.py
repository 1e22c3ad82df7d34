"""What each framework takes where a recipe is silent, with its source.

The sources were read in the frameworks' own code at the commits of `SOURCES`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from stages.audit.recipe import Scalar, Stage, Value

SOURCES = {
    "megatron-lm": "NVIDIA/Megatron-LM d98e8a64ddf3 (2026-08-22), megatron/training/arguments.py and checkpointing.py",
    "transformers": "huggingface/transformers 4.57.6, training_args.py",
    "llama-factory": "hiyouga/LLaMA-Factory ff6d4d1, hparams; the Trainer is transformers'",
    "axolotl": "axolotl-ai-cloud/axolotl 067b021, utils/schemas; the Trainer is transformers'",
    "megatron-bridge": "NVIDIA-NeMo/Megatron-Bridge 067f987df (2026-08-22), training/config.py and checkpointing.py",
    "olmo-core": "allenai/OLMo-core fa6c5014c9f6 (2026-06-22), train/trainer.py and optim/scheduler.py",
    "nanotron": "huggingface/nanotron 2411b022, config and helpers.py",
    "olmo": "allenai/OLMo 59a53e3f (2025-09), olmo/config.py",
    "llm-foundry": "mosaicml/composer 640518880 (2026-04), optim/scheduler.py; llm-foundry 8c8dd48f7, config_utils.py",
    "levanter": "marin-community/levanter 9263f81e (2025-09), optim/config.py",
    "torchtitan": "pytorch/torchtitan b5bcd76c (2026-08-21), config and components/optimizer/lr_scheduler.py",
}
_TRAINER: dict[str, Scalar] = {
    "lr": 5e-5, "decay": "linear", "warmup_steps": 0, "weight_decay": 0.0, "clip": 1.0, "beta1": 0.9, "beta2": 0.999,
    "eps": 1e-8, "accumulation": 1, "save_every": 500, "min_lr_ratio": 0.0,
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Scalar]] = {
    "megatron-lm": {
        "decay": "linear", "min_lr": 0.0, "warmup_steps": 0, "warmup_init": 0.0, "weight_decay": 0.01, "clip": 1.0,
        "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "attention_dropout": 0.1, "hidden_dropout": 0.1, "tp": 1, "pp": 1,
        "cp": 1, "rope_base": 10000, "seed": 1234,
    },
    "megatron-bridge": {"warmup_init": 0.0, "tp": 1, "pp": 1, "cp": 1, "seed": 1234},
    "transformers": _TRAINER | {"epochs": 3, "seed": 42},
    "llama-factory": _TRAINER | {"epochs": 3, "seed": 42, "context": 2048, "tuning": "lora"},
    "axolotl": {"accumulation": 1, "weight_decay": 0.0, "warmup_steps": 0, "decay": "cosine", "min_lr_ratio": 0.0,
                "keep": 4},
    "olmo-core": {"weight_decay": 0.01, "tp": 1, "pp": 1, "cp": 1},
    "nanotron": {"accumulation": 1, "cp": 1, "warmup_steps": 0},
    "olmo": {"decay": "cosine", "min_lr_ratio": 0.1, "warmup_steps": 100},
    "llm-foundry": {"min_lr_ratio": 0.0, "warmup_init": 0.0},
    "levanter": {"decay": "cosine", "min_lr_ratio": 0.1, "warmup_fraction": 0.01, "warmup_init": 0.0, "seed": 0},
    "torchtitan": {"tp": 1, "pp": 1, "cp": 1, "warmup_steps": 200, "decay": "linear", "min_lr_ratio": 0.0,
                   "keep": 10},
}  # fmt: skip
TRAINERS = ("transformers", "llama-factory", "axolotl")


@cache
def settings(file: str) -> frozenset[str]:
    """Every setting that a file below stages/audit/flags lists; its first line names the versions."""
    text = resources.files("stages.audit").joinpath("flags", file).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def with_defaults(stage: Stage) -> Stage:
    """The stage with its framework's values where the file is silent, each marked as such.

    Where a part of the command is not followed, what it leaves out is unknown.
    """
    if stage.on("partial"):
        return stage
    table, source = DEFAULTS.get(stage.framework, {}), SOURCES.get(stage.framework, "")
    added = {name: Value(value, stage.where, name, default=source) for name, value in table.items()}
    if "warmup_fraction" in stage.values or "warmup_samples" in stage.values:
        added.pop("warmup_steps", None)
    if "min_lr" in stage.values:
        added.pop("min_lr_ratio", None)
    return stage.having(added)
