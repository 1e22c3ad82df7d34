"""What each framework takes where a recipe is silent, and what it restores when it loads; each with its source.

The sources were read in the frameworks' own code at the commits of `SOURCES`.
"""

from __future__ import annotations

from dataclasses import dataclass

from stages.audit.recipe import Scalar, Stage, Value

SOURCES = {
    "megatron-lm": "NVIDIA/Megatron-LM d98e8a64ddf3 (2026-08-22), megatron/training/arguments.py and checkpointing.py",
    "transformers": "huggingface/transformers 4.57 and 5, training_args.py and trainer.py",
    "llama-factory": "hiyouga/LLaMA-Factory ff6d4d1, hparams; the Trainer is transformers'",
    "axolotl": "axolotl-ai-cloud/axolotl 067b021, utils/schemas; the Trainer is transformers'",
    "megatron-bridge": "NVIDIA-NeMo/Megatron-Bridge 067f987df (2026-08-22), training/config.py and checkpointing.py",
    "olmo-core": "allenai/OLMo-core fa6c5014c9f6 (2026-06-22), train/trainer.py and optim/scheduler.py",
    "nanotron": "huggingface/nanotron 2411b022, config and helpers.py",
    "torchtitan": "pytorch/torchtitan b5bcd76c (2026-08-21), config and components/lr_scheduler.py",
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
    "llama-factory": _TRAINER | {"epochs": 3, "seed": 42, "context": 2048},
    "axolotl": {"accumulation": 1, "weight_decay": 0.0, "warmup_steps": 0, "decay": "cosine", "min_lr_ratio": 0.0},
    "olmo-core": {"weight_decay": 0.01, "tp": 1, "pp": 1, "cp": 1},
    "nanotron": {"accumulation": 1, "cp": 1, "warmup_steps": 0},
    "torchtitan": {"tp": 1, "pp": 1, "cp": 1, "warmup_steps": 200, "decay": "linear", "min_lr_ratio": 0.0},
}  # fmt: skip
TRAINERS = frozenset({"transformers", "llama-factory", "axolotl"})


@dataclass(frozen=True)
class Loads:
    """What a launch takes from the checkpoint that it names. None: it depends on what the text does not say.

    `scheduler`: "file" (this file's figures, from step 0), "asserted" (the launch stops unless the checkpoint's figures
    equal this file's), "override" (this file's figures at the restored step), "checkpoint" (the checkpoint's).
    """

    when: str
    weights: bool
    optimizer: bool | None
    scheduler: str
    step: bool
    data: bool


def _megatron(stage: Stage) -> str:
    if stage.on("scheduler_from_checkpoint"):
        return "checkpoint"
    return "override" if stage.on("override_scheduler") else "asserted"


def goes_on_by_itself(stage: Stage) -> bool:
    """Whether what it loads is what it saves itself: nothing at its first launch, unless the user names a parent."""
    load, save = ((stage.text(one) or "").rstrip("/") for one in ("load", "save"))
    return bool(save) and (load + "/").startswith(save + "/") and "from" not in stage.values


def on_load(stage: Stage) -> Loads | None:
    """What this launch restores; None where it loads nothing at first, or where nobody has read how."""
    loads, pretrained = "load" in stage.values and not goes_on_by_itself(stage), "pretrained" in stage.values
    match stage.framework:
        case "megatron-lm" | "megatron-bridge" if loads:
            if stage.on("finetune"):
                return Loads("--load with --finetune", True, False, "file", step=False, data=False)
            if stage.on("no_load_optim"):
                return Loads("--load with --no-load-optim", True, False, "file", step=True, data=True)
            return Loads("--load", True, True, _megatron(stage), step=True, data=True)
        case "megatron-lm" | "megatron-bridge" if pretrained:
            return Loads("pretrained_checkpoint", True, False, "file", step=False, data=False)
        case "transformers" | "llama-factory" | "axolotl" if loads:
            skipped = stage.on("ignore_data_skip")
            return Loads("resume_from_checkpoint", True, True, "checkpoint", step=True, data=not skipped)
        case "transformers" | "llama-factory" | "axolotl" if pretrained:
            return Loads("the model's path alone", True, False, "file", step=False, data=False)
        case "olmo-core" if loads:
            state = stage.get("load_trainer_state") is not False
            optim = stage.get("load_optim_state") is not False
            return Loads("load_path", True, optim, "file" if not state else "override", step=state, data=state)
        case "nanotron" if loads:
            clock, optim = stage.get("load_lr_scheduler") is not False, stage.get("load_optimizer") is not False
            scheduler = "checkpoint" if clock else "file"  # its trainer reads the step with the scheduler, or neither
            return Loads("resume_checkpoint_path", True, optim, scheduler, step=clock, data=clock)
        case "torchtitan" if loads:
            weights = stage.get("load_model_only") is not False
            return Loads(
                "initial_load_path", True, not weights, "file" if weights else "override", not weights, not weights
            )
        case _:
            return None


def with_defaults(stage: Stage) -> Stage:
    """The stage with its framework's values where the file is silent, each marked as such."""
    table, source = DEFAULTS.get(stage.framework, {}), SOURCES.get(stage.framework, "")
    added = {name: Value(value, stage.where, name, default=source) for name, value in table.items()}
    if "warmup_fraction" in stage.values or "warmup_samples" in stage.values:
        added.pop("warmup_steps", None)
    if "min_lr" in stage.values:
        added.pop("min_lr_ratio", None)
    return stage.having(added)
