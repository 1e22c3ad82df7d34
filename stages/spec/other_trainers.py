"""Keys and words that other trainers have and specs do not: what is in their place (docs/recipes.md)."""

from __future__ import annotations

from stages.errors import page
from stages.spec.families import FAMILIES

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
    (
        "teacher teacher_model distillation kd_weight",
        "Take it out: no objective here learns from a teacher. Text that a teacher wrote is a corpus.",
    ),
    (
        "lora lora_r lora_rank lora_alpha peft adapter qlora",
        "Take it out: modules are trained whole, or are `frozen`. Merge an adapter elsewhere, and import the model.",
    ),
    ("fim fim_rate fim_spm_rate infilling", "Take it out: documents are read in their order, without infilling."),
    ("num_nextn_predict_layers mtp mtp_num_layers", "Take it out: the next token alone is predicted."),
    (
        "longrope dynamic ntk ntk_factor",
        "Take it out: positions are plain, or scaled by llama3, interpolation or yarn.",
    ),
)
ELSEWHERE = (
    "Train it elsewhere: export the stage before, and bring the result in as a release, with a stage of kind import."
)
# words of a value -> what to do
VALUES = (
    (
        "dpo apo apo_zero",
        "Write `objective: preference`, and `preference: {loss: dpo, beta: ..., answers: sum, turn_ends: learned, "
        "nll: 0}` below it; `loss: apo_zero` for APO-zero.",
    ),
    ("kto orpo simpo ipo reward ppo grpo rlhf rlvr rl", ELSEWHERE),
    (
        "distill distillation kd",
        "Write `next_token` or `sft` on text that the teacher wrote: no objective reads its logits.",
    ),
    ("pretrain pretraining clm causal_lm lm cpt", "Write `next_token`."),
    (
        "prune pruning",
        "Models grow here (`upcycle`). Prune elsewhere, and bring the result in with a stage of kind import.",
    ),
    ("wsd trapezoidal", "Write its pieces: a linear warm-up, a constant rate, a decay (linear, 1-sqrt, exponential)."),
    ("gpu nvidia", "Write `cuda`."),
    ("slerp ties dare dare_ties model_stock", "Merges here are averages of weights: uniform, weighted or ema."),
    (
        "bfd best_fit wrapped ffd",
        "Write `whole` for documents that stay whole, `concatenate` for text that may be cut.",
    ),
)
# (key, word) -> what to write where the word is meant for another key
BELOW = {
    **{("kind", name): "Write `preference` for pairs of answers." for name in ("dpo", "apo", "apo_zero")},
    ("loss", "apo"): "Write `apo_zero`.",
}
WORDS = {word: repair for words, repair in VALUES for word in words.split()}
REPAIRS = {word: repair for words, repair in KEYS for word in words.split()}


def repair(key: str) -> str | None:
    """What to write in place of a key of another trainer; None where it is none that is known."""
    return REPAIRS.get(key.lower())


def word(value: object, key: str = "") -> str | None:
    """What to write in place of a word of another trainer, below `key`; None where it is none that is known."""
    text = str(value).lower()
    return BELOW.get((key, text)) or WORDS.get(text)


def family(named: str) -> str:
    """What to write for a model's class or type, as config.json names it."""
    for name, family in FAMILIES.items():
        if named in (family.PUBLISHED.architecture, family.PUBLISHED.model_type):
            return f"Write `{name}`."
    return f"Use one of these; another one is a file of its own ({page('adding-a-family')})."
