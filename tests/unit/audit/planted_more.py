"""Defects of hand-overs and of figures that have to agree, planted into the sound recipes."""

from __future__ import annotations

from tests.unit.audit.planted import ANNEAL, DECAY, JSON, LAUNCHER, LONG, RESUMED, RESUMING, SAMPLES, SFT, Defect
from tests.unit.audit.planted_formats import BRIDGE, EXTEND, LONGER, PREFERENCE, ROWS, STABLE, TRAIN
from tests.unit.audit.planted_formats import LONG as ZERO
from tests.unit.audit.planted_formats import SFT as DIALOGUES

STARTED = "trainer_functions/train.sh"
ROUTED = "megatron_experts/run.sbatch"
ROW = 2500 * 128 * 32768  # tokens of LONG

DEFECTS = (
    # a run that goes on
    Defect("step-size-changed", DECAY, "--global-batch-size 2048", "--global-batch-size 1024", certain=False),
    Defect("step-size-changed", RESUMING, '"per_device_train_batch_size": 8', '"per_device_train_batch_size": 4',
           certain=False),
    Defect("optimizer-changed", RESUMING, '"bf16": true', '"adam_beta2": 0.95, "bf16": true', certain=False),
    Defect("optimizer-changed", ZERO, "betas=(0.9, 0.95)", "betas=(0.9, 0.99)", certain=False),
    Defect("scheduler-refused", DECAY, "$(curve 250000)", "--weight-decay 0.01 $(curve 250000)", certain=False),
    Defect("tokenizer-changed", ZERO, "TokenizerConfig.dolma2()", "TokenizerConfig.gpt2()", tokens=9537 * 2**21,
           certain=False),
    Defect("tokenizer-changed", LONG, "${TOKENIZER[@]} $(rows", "--tokenizer-model /tokenizers/other $(rows",
           tokens=ROW, certain=False),
    Defect("template-changed", PREFERENCE, "chat_template: chatml", "chat_template: llama3", certain=False),
    Defect("data-repeated", LONG, "--data-path /data/long", "--data-path 0.3 /data/web 0.4 /data/code 0.3 /data/sums",
           tokens=ROW, certain=False),
    Defect("data-repeated", RESUMING, '"bf16": true', '"ignore_data_skip": true, "bf16": true', certain=False),
    Defect("rate-jumps", ZERO, "LinearWithWarmup(warmup=100,", "LinearWithWarmup(warmup=0,", at="lr=5e-5",
           certain=False),
    Defect("data-repeated", LONGER, "steps = 1500\n", 'steps = 1500\ndataset = "web"\n', at="dataset",
           tokens=1500 * 2**20, certain=False),
    Defect("rate-jumps", ZERO, "lr=5e-5", "lr=5e-3", certain=False),
    Defect("rope-stays", LONG, "--rotary-base 1000000", "--rotary-base 10000", tokens=ROW, certain=False),
    Defect("model-changed", ANNEAL, "    --swiglu\n", "", at="torchrun"),
    Defect("model-changed", ANNEAL, "    --swiglu\n", "    --swiglu\n    --untie-embeddings-and-output-weights\n",
           at="--untie"),
    Defect("model-changed", LONGER, 'flavor = "small"', 'flavor = "large"', certain=False),
    Defect("model-changed", ROWS, "rms_norm_eps: 1.0e-06", "rms_norm_eps: 1.0e-05", certain=False),
    Defect("model-changed", LONG, "${TOKENIZER[@]} $(rows", "${TOKENIZER[@]} --qk-layernorm $(rows"),
    Defect("clip-dropped", DECAY, "--save /runs/decay", "--clip-grad 0.0 --save /runs/decay", certain=False),
    Defect("clip-dropped", PREFERENCE, "bf16: true", "bf16: true\nmax_grad_norm: 0.0", at="max_grad_norm",
           certain=False),
    Defect("rate-impossible", STABLE, "clip_grad: 1.0", "clip_grad: 0.0", tokens=60_000 * 256 * 2048),
    Defect("warmup-twice", SAMPLES, "--lr-warmup-samples 20000", "--lr-warmup-samples 20000 --lr-warmup-fraction 0.1"),
    Defect("rate-impossible", TRAIN, "max_norm = 1.0", "max_norm = 0.0", tokens=20_000 * 256 * 4096),
    # several runs of one script
    Defect("length-twice", STARTED, "--num_train_epochs 3", "--num_train_epochs 3 --max_steps 100"),
    Defect("parent-passed-over", STARTED, 'run best "$OUT/chat"', 'run best "$OUT/more"', certain=False),
    Defect("save-never", STARTED, "--save_steps 1000", "--save_steps 10000", certain=False),
    # what a launch line changes
    Defect("warmup-long", "launched/first.sh", "STEPS:-20000", "STEPS:-900", in_file="launched/small.toml",
           at="warmup_steps", tokens=900 * 128 * 4096),
    Defect("rate-impossible", "launched/tune.sh", "learning_rate=2e-5", "learning_rate=2e5"),
    # checkpoints
    Defect("checkpoint-deleted", RESUMED, '"max_steps": 2000', '"max_steps": 8000, "save_total_limit": 3',
           in_file=RESUMING, at='"resume_from_checkpoint"', certain=False, also=("parent-not-finished",)),
    Defect("checkpoint-deleted", LONGER, "step-20000", "step-9000", certain=False, also=("parent-not-finished",)),
    Defect("saves-over-parent", SFT, "output_dir: saves/sft", "output_dir: saves/pt", certain=False),
    Defect("adapter-as-model", DIALOGUES, "sample_packing: true", "sample_packing: true\nadapter: lora",
           in_file=PREFERENCE, at="base_model", certain=False),
    Defect("parent-passed-over", LONG, "--load /runs/decay", "--load /runs/stable", tokens=50_000 * 2048 * 4096,
           certain=False),
    Defect("parent-misspelt", LONG, "--load /runs/decay", "--load /runs/deacy", certain=False),
    Defect("parent-misspelt", EXTEND, "pretrain/step192000", "pertrain/step192000", certain=False,
           also=("decay-unfinished",)),
    Defect("model-changed", ZERO, "TransformerConfig.olmo2_7B(", "TransformerConfig.olmo3_7B("),
    # evaluation
    Defect("eval-in-training", SFT, "dataset: chats", "dataset: chats,more\neval_dataset: more", at="eval_dataset",
           certain=False),
    Defect("eval-in-training", DIALOGUES, "val_set_size: 0.02",
           "test_datasets:\n  - {path: data/dialogues.jsonl, type: chat_template}", at="test_datasets", certain=False),
    Defect("eval-without-data", SFT, "bf16: true", "bf16: true\neval_strategy: steps", at="eval_strategy"),
    Defect("best-never", JSON, '"save_steps": 500', '"load_best_model_at_end": true, "save_steps": 750'),
    Defect("best-never", RESUMED, '"save_steps": 500', '"load_best_model_at_end": true, "save_steps": 500'),
    Defect("interval-twice", DIALOGUES, "saves_per_epoch:", "saves_per_epoch: 2"),
    # figures that have to agree
    Defect("context-twice", BRIDGE, "dataset:\n  seq_length: 4096", "dataset:\n  seq_length: 8192",
           at="  seq_length: 8192"),
    Defect("vocabulary-short", STABLE, "dataset_folder: [/data/web, /data/code]\n",
           "vocab_size: 65536\n      dataset_folder: [/data/web, /data/code]\n", at="    vocab_size: 49152"),
    Defect("vocabulary-short", ROWS, "dataset_folder: [/data/web, /data/code]\n",
           "dataset_folder: [/data/web, /data/code]\n      vocab_size: 49152\n      token_size_in_bytes: 1\n",
           at="token_size", tokens=4000 * 64 * 8192),
    Defect("weight-decay-twice", BRIDGE, "lr_warmup_iters: 500",
           "lr_warmup_iters: 500\n  start_weight_decay: 0.1\n  end_weight_decay: 0.01", at="  end_weight_decay"),
    Defect("experts-few", ROUTED, "--expert-model", "--moe-router-topk 65 --expert-model"),
    Defect("units-mixed", SAMPLES, "--lr-decay-samples ${SAMPLES}", "--lr-decay-iters 4000", also=("decay-early",)),
    Defect("units-mixed", DECAY, "--save /runs/decay", "--lr-warmup-samples 100 --save /runs/decay"),
    Defect("decay-length-missing", LAUNCHER, "--lr-decay-style cosine", "--lr-decay-style WSD"),
    Defect("data-first", ROWS, "start_training_step: 1\n", "start_training_step: 5\n"),
    Defect("data-first", ROWS, "better\n  start_training_step: 2001", "better\n  start_training_step: 1 # again",
           at="  start_training_step: 1 # again"),
    Defect("warmup-past-decay", TRAIN, "decay_ratio = 0.2", "decay_ratio = 0.99"),
    Defect("warmup-past-decay", ROWS, "lr_decay_starting_step: 200", "lr_decay_starting_step: 20",
           also=("decay-early",)),
    Defect("rate-impossible", SFT, "warmup_ratio: 0.1", "warmup_ratio: 10"),
    Defect("flag-unknown", JSON, '"seed": 1', '"lr_scheduler_kwargs": {"min_lr": 1e-06},\n  "seed": 1',
           at='"lr_scheduler_kwargs"'),
    Defect("decay-early", RESUMED, '"lr_scheduler_type": "constant_with_warmup"',
           '"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_stable_steps": 950,'
           '  "num_decay_steps": 500}'),
)  # fmt: skip
