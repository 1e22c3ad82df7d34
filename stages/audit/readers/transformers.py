"""Hugging Face's TrainingArguments: as JSON, and under LLaMA-Factory and axolotl."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from stages.audit.frameworks import settings
from stages.audit.readers.tables import picked
from stages.audit.readers.tree import Tree, values
from stages.audit.recipe import PATHS, Slip, Stage, Value, scalar
from stages.errors import Where
from stages.printable import printable

FIGURES = {
    "max_steps": "steps", "num_train_epochs": "epochs", "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "accumulation", "learning_rate": "lr", "lr_scheduler_type": "decay",
    "warmup_steps": "warmup_steps", "warmup_ratio": "warmup_fraction", "weight_decay": "weight_decay",
    "max_grad_norm": "clip", "adam_beta1": "beta1", "adam_beta2": "beta2", "adam_epsilon": "eps", "optim": "optimizer",
    "min_lr_ratio": "min_lr_ratio", "save_steps": "save_every", "save_strategy": "save_strategy",
    "eval_steps": "eval_every", "eval_strategy": "eval_strategy", "evaluation_strategy": "eval_strategy",
    "output_dir": "save", "resume_from_checkpoint": "resume", "model_name_or_path": "pretrained",
    "model_name": "pretrained", "tokenizer_name": "tokenizer", "seed": "seed", "bf16": "bf16", "fp16": "fp16",
    "ignore_data_skip": "ignore_data_skip", "seq_parallel_size": "cp", "per_device_max_tokens": "device_tokens",
    "overwrite_output_dir": "overwrite", "save_only_model": "save_only_model", "save_total_limit": "keep",
    "load_best_model_at_end": "best", "hub_model_id": "hub", "use_peft": "peft",
    "packing": "packing", "packing_strategy": "packing_strategy", "attn_implementation": "attention",
    "dataset_streaming": "streaming", "max_train_steps": "steps", "num_warmup_steps": "warmup_steps",
    "checkpointing_steps": "save_every", "deepspeed": "deepspeed",
    "pretrain_mm_mlp_adapter": "adapter_path", "lora_r": "adapter_rank", "lora_dropout": "adapter_dropout",
}  # fmt: skip
FACTORY = FIGURES | {
    "cutoff_len": "context", "dataset": "dataset", "finetuning_type": "tuning", "stage": "objective",
    "rope_scaling": "rope_scaling", "template": "template", "flash_attn": "attention",
    "val_size": "held_out", "adapter_name_or_path": "adapter_path",
    "interleave_probs": "shares", "max_samples": "max_samples",
    "streaming": "streaming", "mix_strategy": "mix_strategy", "neat_packing": "neat_packing",
    "train_on_prompt": "train_on_prompt", "mask_history": "mask_history", "quantization_bit": "quantized",
    "predict_with_generate": "predict_with_generate", "lora_rank": "adapter_rank",
}  # fmt: skip
AXOLOTL = FIGURES | {
    "base_model": "pretrained", "num_epochs": "epochs", "micro_batch_size": "micro_batch", "optimizer": "optimizer",
    "sequence_len": "context", "lr_scheduler": "decay", "evals_per_epoch": "evals_per_epoch",
    "saves_per_epoch": "saves_per_epoch", "sample_packing": "packing", "rope_theta": "rope_base",
    "cosine_min_lr_ratio": "min_lr_ratio", "context_parallel_size": "cp", "tensor_parallel_size": "tp",
    "adapter": "adapter", "chat_template": "template", "auto_resume_from_checkpoints": "auto_resume",
    "streaming": "streaming", "val_set_size": "held_out",
}  # fmt: skip
LENGTHS = {"max_seq_length": "context", "max_length": "context",  # of TRL's SFTConfig and DPOConfig
           "model_max_length": "context"}  # of scripts after Stanford Alpaca's  # fmt: skip
PREFERENCES = frozenset({  # of TRL 0.24: none is SFTConfig's
    "beta", "max_prompt_length", "max_completion_length", "num_generations", "desirable_weight",
    "precompute_ref_log_probs", "center_rewards_coefficient",
})  # fmt: skip
PROGRAMS = frozenset({"dpo", "kto", "orpo", "cpo", "grpo", "rloo", "ppo", "reward", "reward_modeling", "prm", "bco",
                      "online_dpo", "gkd"})  # TRL's: its commands, and its scripts by file name  # fmt: skip
FACTORY_MARKS = frozenset({"finetuning_type", "cutoff_len", "template"})
# Settings of a file that has all of them, as `to_json_string` writes it: epochs next to steps are unused.
WRITTEN_OUT = 40
MAX_KEYS = 400  # among which misspellings are looked for: no file of arguments has more
MARKS = frozenset({"output_dir", "per_device_train_batch_size", "learning_rate", "gradient_accumulation_steps",
                   "num_train_epochs", "max_steps", "lr_scheduler_type"})  # fmt: skip
STYLES = {
    "linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant",
    "inverse_sqrt": "inverse_sqrt", "cosine_with_min_lr": "cosine", "polynomial": "polynomial",
    "cosine_warmup_with_min_lr": "cosine", "warmup_stable_decay": "wsd", "one_cycle": "other", "rex": "other",
}  # fmt: skip

_SCHEDULER = {
    "min_lr": ("lr_scheduler_kwargs.min_lr",),
    "min_lr_ratio": ("lr_scheduler_kwargs.min_lr_rate", "lr_scheduler_kwargs.min_lr_ratio"),
    "wsd_steps": ("lr_scheduler_kwargs.num_decay_steps",), "stable_steps": ("lr_scheduler_kwargs.num_stable_steps",),
}  # fmt: skip


def misspelt(keys: Iterable[tuple[str, Where]], figures: Iterable[str]) -> Iterator[Slip]:
    """Keys that TrainingArguments does not have, a letter from one that matters: a Trainer of one's own adds others."""
    known = settings("transformers.txt")
    for key, where in keys:
        near = difflib.get_close_matches(key, figures, n=1, cutoff=0.9) if key not in known else []
        if near and key not in figures:
            yield Slip("flag-unknown", where, f"{printable(key)}, which TrainingArguments does not have", f"{near[0]}?")


def factory(tree: Tree, name: str) -> list[Stage]:
    """LLaMA-Factory's YAML or JSON: the Trainer's keys and its own."""
    keys = set(map(str, tree.below(())))
    if not FACTORY_MARKS & keys or not keys & MARKS:
        return []
    stage = from_tree(tree, name, "llama-factory", FACTORY)
    lists = {"data": "dataset", "data_weights": "interleave_probs", "eval_data": "eval_dataset"}
    added = {figure: value for figure, key in lists.items() if (value := listed(tree, key)) is not None}
    return [stage.having(added)]


def listed(tree: Tree, key: str) -> Value | None:
    """A list, written as one or as words between commas."""
    found = tree.value((key,))
    items = values(tree, (key,))
    if found is not None and not items:
        items = tuple(scalar(one) for one in str(found.value).split(",") if one.strip())
    return Value(items, tree.places[key,], key) if items else None


def arguments_file(tree: Tree, name: str) -> list[Stage]:
    """TrainingArguments as JSON (its `to_json_string`), or under YAML."""
    keys = list(map(str, tree.below(())))
    if len(MARKS.intersection(keys)) < 3:
        return []
    learned = next((key for key in keys if key in PREFERENCES), None)
    added = {} if learned is None else {"objective": preferences(tree.places[learned,], learned)}
    read = from_tree(tree, name, "transformers", FIGURES | LENGTHS).having(added)
    written_out = len(settings("transformers.txt").intersection(keys)) > WRITTEN_OUT and "steps" in read.values
    values = {figure: one for figure, one in read.values.items() if figure != "epochs" or not written_out}
    return [replace(read, values=values)]


def preferences(where: Where, key: str) -> Value:
    """What a Trainer learns that has a setting of TRL's preferences or rewards."""
    return Value("preferences", where, key, derived=True)


def from_tree(tree: Tree, name: str, framework: str, figures: Mapping[str, str]) -> Stage:
    """A stage of a file whose top-level keys are arguments."""
    found: dict[str, Value] = {}
    for key, figure in figures.items():
        value = tree.value((key,))
        if value is not None:
            path = figure in PATHS and value.unknown is not None
            found[figure] = Value(printable(tree.leaves[key,].text or ""), value.where, key) if path else value
        elif listed := values(tree, (key,)):
            found[figure] = Value(listed, tree.places[key,], key)
    found |= kwargs(tree)
    keys = [(str(key), tree.places[key,]) for key in tree.below(())][:MAX_KEYS]
    slips = (*misspelt(keys, figures), *not_taken(tree, found)) if framework != "axolotl" else ()
    return Stage(name, framework, tree.places.get((), Where(name, 1)), settled(found), slips=tuple(slips))


def not_taken(tree: Tree, found: Mapping[str, Value]) -> Iterator[Slip]:
    """Arguments of the scheduler that the one that is named does not take; of others nothing is reported here."""
    plain = {"linear", "cosine", "constant", "constant_with_warmup"}
    name = found["decay"].value if "decay" in found else "linear"
    for key in map(str, tree.below(("lr_scheduler_kwargs",))):
        if name in plain and key in {"min_lr", "min_lr_rate", "min_lr_ratio", "num_decay_steps", "num_stable_steps"}:
            argument = f"lr_scheduler_kwargs.{key}, which the scheduler {name} does not take"
            other = "warmup_stable_decay" if key.startswith("num_") else "cosine_with_min_lr"
            yield Slip("flag-unknown", tree.places["lr_scheduler_kwargs", key], argument, f"{other}?")


def kwargs(tree: Tree) -> dict[str, Value]:
    """What lr_scheduler_kwargs says of the smallest rate and of a warm-up, stable, decay schedule."""
    return picked(tree, _SCHEDULER)


def settled(found: dict[str, Value]) -> dict[str, Value]:
    """The scheduler under the names that all frameworks share; -1 steps are none; a resume is a path or a switch."""
    decay = found.get("decay")
    if decay is not None and isinstance(decay.value, str):
        found["scheduler"] = decay
        style = STYLES.get(decay.value)
        reason = None if style else f"the scheduler {printable(decay.value)} is not modelled here"
        found["decay"] = Value(style, decay.where, decay.key, reason)
    steps = found.get("steps")
    if steps is not None and isinstance(steps.value, int) and steps.value <= 0:
        del found["steps"]
    parts = [found[one] for one in ("warmup_steps", "stable_steps", "wsd_steps") if one in found]
    sizes = [one.value for one in parts if isinstance(one.value, int)]
    if "stable_steps" in found and len(sizes) == 3:
        found["decay_steps"] = Value(sum(sizes), parts[1].where, parts[1].key)
    resume = found.pop("resume", None)
    if resume is not None and isinstance(resume.value, str) and scalar(resume.value) not in {"last", "latest"}:
        found["load"] = resume
    return found
