"""Defects in scripts of Python, of accelerate and of two launches, in adapters, and in DeepSpeed's files."""

from __future__ import annotations

from tests.unit.audit.planted import Defect

TEXT, ANSWERS = "trainer_evaluated/finetune.py", "trainer_evaluated/answers.py"
FINETUNE, ACCELERATE = "trainer_projector/finetune.sh", "trainer_accelerate/run.sh"
WEB, BOOKS = "megatron_exits/1_web.sh", "megatron_exits/2_books.sh"
FILLED, PAIRS = "trainer_filled/deepspeed.json", "factory_adapters/2_pairs.yaml"
TITAN, BRIDGE = "titan_assets/second.toml", "bridge/pretrain.yaml"

DEFECTS = (
    # what a Trainer of Python is evaluated on, and its scheduler's arguments
    Defect("eval-in-training", TEXT, 'eval_dataset=text["validation"]', 'eval_dataset=text["train"]', certain=False),
    Defect("eval-in-training", ANSWERS, 'eval_dataset=parts["test"].shuffle(seed=3)', "eval_dataset=pairs",
           certain=False),
    Defect("eval-in-training", ANSWERS, "train_dataset=pairs", 'train_dataset=parts["test"]', at="eval_dataset=",
           certain=False),
    Defect("floor-above-peak", TEXT, '"min_lr_rate": 0.1', '"min_lr_rate": 1.5'),
    Defect("flag-unknown", TEXT, '"cosine_with_min_lr"', '"cosine"', at="lr_scheduler_kwargs="),
    # accelerate's scripts
    Defect("warmup-long", ACCELERATE, "--num_warmup_steps 500", "--num_warmup_steps 50000"),
    Defect("save-never", ACCELERATE, "--checkpointing_steps 1000", "--checkpointing_steps 100000", certain=False),
    # folders of adapters and projectors
    Defect("parent-misspelt", FINETUNE, "7b-projector/", "7b-porjector/", certain=False),
    Defect("saves-over-parent", FINETUNE, "checkpoints/chat-7b-pictures", "checkpoints/chat-7b-projector",
           at="--output_dir", certain=False),
    Defect("parent-misspelt", PAIRS, "saves/lora/answers", "saves/lora/anwsers", certain=False),
    # launches that end before their run does
    Defect("past-the-end", BOOKS, "--train-iters 50000", "--train-iters 25000", certain=False),
    Defect("step-size-changed", BOOKS, "--global-batch-size 512", "--global-batch-size 1024", certain=False),
    Defect("flags-not-passed", WEB, ' "${TRAIN[@]}"', "", at="TRAIN=(", also=("scheduler-refused",)),
    # DeepSpeed's file
    Defect("deepspeed-differs", FILLED, '"total_num_steps": 2000', '"total_num_steps": 3000'),
    Defect("deepspeed-differs", FILLED, '"train_batch_size": 256', '"train_batch_size": 250'),
    # data and tokenizers in other keys
    Defect("weights-sum", BRIDGE, "[0.7, 0.3]", "[0.7, 0.2]", certain=False),
    Defect("data-counts", BRIDGE, "[0.7, 0.3]", "[0.7, 0.2, 0.1]"),
    Defect("tokenizer-changed", TITAN, "hf/Llama-3.1-8B", "hf/Qwen3-8B", certain=False),
)  # fmt: skip
