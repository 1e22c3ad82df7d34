"""Keys that other trainers have and specs do not: what stands in their place."""

from __future__ import annotations

# words of a key that is unknown here -> what to do
KEYS = (
    ("dropout attention_dropout hidden_dropout attn_pdrop resid_pdrop", "Take it out: no model here has dropout."),
    ("label_smoothing", "Take it out: no objective here has it."),
    (
        "lr learning_rate peak_lr max_lr min_lr lr_scheduler lr_scheduler_type warmup warmup_steps warmup_ratio",
        "Write it as a piece of a schedule in pipeline.yaml, which the stage names in `schedule`.",
    ),
    (
        "gradient_accumulation gradient_accumulation_steps grad_accum global_batch_size train_batch_size",
        "Write the sequences of a whole step as `batch` of the phase, and those computed at once as `micro_batch`.",
    ),
    ("max_steps train_iters num_train_epochs steps", "Write it as `budget` of a phase, in tokens or epochs."),
    ("max_grad_norm grad_clip gradient_clipping", "Write it as `clip` of the optimizer."),
    (
        "seq_len seq_length sequence_length max_seq_len max_seq_length max_length block_size",
        "Write it as `context` of the phase.",
    ),
    ("rope_theta rope_scaling rotary_base", "Write it in `rope` of the stage."),
    ("fp16 bf16 dtype precision mixed_precision", "Write it as `engine_class` of the scale."),
    ("gradient_checkpointing activation_checkpointing", "Write it as `activations` of `execution`."),
)
REPAIRS = {word: repair for words, repair in KEYS for word in words.split()}


def repair(key: str) -> str | None:
    """What to write in place of a key of another trainer; None where it is none that is known."""
    return REPAIRS.get(key.lower())
