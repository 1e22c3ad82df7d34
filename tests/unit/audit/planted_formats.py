"""Defects planted into the sound recipes of OLMo-core, nanotron, torchtitan, Megatron-Bridge and axolotl."""

from __future__ import annotations

from tests.unit.audit.planted import Defect

PRETRAIN, EXTEND, LONG = "olmo/pretrain.py", "olmo/extend.py", "olmo/long.py"
STABLE, ROWS = "nanotron/stable.yaml", "nanotron/long.yaml"
TRAIN, LONGER, REGISTRY = "titan_toml/train.toml", "titan_toml/longer.toml", "titan_python/config_registry.py"
BRIDGE, TUNE = "bridge/pretrain.yaml", "bridge/tune.yaml"
FIRST, SECOND, THIRD = "nemotron/first.yaml", "nemotron/second.yaml", "nemotron/long.yaml"
SFT, PREFERENCE = "axolotl/sft.yml", "axolotl/preference.yml"

DEFECTS = (
    # OLMo-core
    Defect("past-the-end", EXTEND, "Duration.tokens(int(6e11))", "Duration.tokens(int(1e11))", tokens=95_368 * 2**20,
           certain=False, also=("step-not-saved",)),
    Defect("step-not-saved", EXTEND, "pretrain/step192000", "pretrain/step191500", certain=False),
    Defect("parent-not-finished", PRETRAIN, "Duration.steps(192_000)", "Duration.steps(300_000)",
           in_file=EXTEND, at='load_path="', tokens=108_000 * 2**20, certain=False),
    Defect("rate-jumps", EXTEND, "AdamWConfig(lr=4e-4", "AdamWConfig(lr=1e-4", certain=False),
    Defect("decay-unfinished", LONG, "max_duration=Duration.tokens(TOKENS),",
           "max_duration=Duration.tokens(TOKENS),\n            hard_stop=Duration.steps(4_000),", at="TOKENS = ",
           certain=False),
    Defect("decay-early", LONG, "LinearWithWarmup(warmup=100,", "LinearWithWarmup(warmup=100, t_max=5_000,",
           tokens=(9537 - 5000) * 2**21),
    Defect("warmup-long", LONG, "warmup=100,", "warmup=20 * 1_000,", tokens=9537 * 2**21),
    Defect("warmup-twice", PRETRAIN, "CosWithWarmup(warmup=1000)", "CosWithWarmup(warmup=1000, warmup_fraction=0.01)"),
    Defect("rate-impossible", PRETRAIN, "PEAK = 4e-4", "PEAK = 4e4", also=("rate-jumps",)),
    Defect("model-changed", LONG, "TransformerConfig.olmo2_7B(", "TransformerConfig.olmo2_7B(n_layers=30, "),
    Defect("batch-indivisible", PRETRAIN, "rank_microbatch_size=2 * CONTEXT", "rank_microbatch_size=3 * CONTEXT",
           at="BATCH = "),
    Defect("model-indivisible", LONG, "llama3(degree=4)", "llama3(degree=3)"),
    Defect("eval-never", PRETRAIN, "eval_interval=5_000", "eval_interval=500_000", certain=False),
    Defect("save-never", LONG, "save_interval=1000", "save_interval=10**6", certain=False),
    Defect("batch-indivisible", LONG, "rank_microbatch_size=CONTEXT", "rank_microbatch_size=3 * CONTEXT // 2"),
    # nanotron
    Defect("decay-unfinished", STABLE, "    lr_decay_steps: 10000\n", "", at="lr_decay_starting_step", certain=False),
    Defect("decay-early", STABLE, "lr_decay_steps: 10000", "lr_decay_steps: 5000", tokens=5000 * 256 * 2048),
    Defect("decay-unfinished", STABLE, "lr_decay_steps: 10000", "lr_decay_steps: 15000", certain=False),
    Defect("past-the-end", ROWS, "load_lr_scheduler: false", "load_lr_scheduler: true", at="train_steps:",
           tokens=4000 * 64 * 8192, certain=False, also=("rate-ignored",)),
    Defect("data-never", STABLE, "start_training_step: 40001", "start_training_step: 70001"),
    Defect("weights-sum", STABLE, "[0.6, 0.25, 0.15]", "[0.6, 0.25, 0.25]", certain=False),
    Defect("data-counts", STABLE, "[0.8, 0.2]", "[0.5, 0.3, 0.2]"),
    Defect("positions-short", ROWS, "max_position_embeddings: 8192", "max_position_embeddings: 2048", certain=False),
    Defect("context-past-rope", ROWS, "rope_theta: 100000.0", "rope_theta: 500.0", also=("rope-falls",)),
    Defect("model-indivisible", STABLE, "num_key_value_heads: 4", "num_key_value_heads: 5", also=("model-changed",)),
    Defect("model-changed", ROWS, "num_hidden_layers: 24", "num_hidden_layers: 26"),
    Defect("flag-twice", STABLE, "  clip_grad: 1.0", "  clip_grad: 1.0\n  weight_decay: 0.01",
           at="  weight_decay: 0.1\n"),
    Defect("flag-unknown", STABLE, "    lr_warmup_steps: 2000", "    lr_warmup_step: 2000"),
    Defect("save-never", STABLE, "checkpoint_interval: 1000", "checkpoint_interval: 1000000", certain=False),
    # torchtitan
    Defect("load-disabled", LONGER, "enable = true", "enable = false", at="initial_load_path", tokens=1500 * 2**20,
           certain=False),
    Defect("step-not-saved", LONGER, "step-20000", "step-19500", certain=False),
    Defect("decay-early", LONGER, "warmup_steps = 50", "warmup_steps = 50\ntotal_steps = 1000",
           at="total_steps", tokens=500 * 2**20),
    Defect("warmup-long", LONGER, "warmup_steps = 50\n", "warmup_steps = 2000\n", tokens=1500 * 2**20),
    Defect("batch-indivisible", TRAIN, "global_batch_size = 256", "global_batch_size = 250"),
    Defect("model-indivisible", LONGER, "context_parallel_degree = 4", "context_parallel_degree = 3"),
    Defect("floor-above-peak", TRAIN, "min_lr_factor = 0.1", "min_lr_factor = 10.0"),
    Defect("eval-never", TRAIN, "freq = 1000", "freq = 100000", certain=False),
    Defect("flag-unknown", TRAIN, "\nwarmup_steps = 500", "\nwarmup_step = 500", at="warmup_step ="),
    Defect("parent-not-finished", REGISTRY, "checkpoint/step-10000", "checkpoint/step-9000",
           tokens=1000 * 2**20, certain=False),
    Defect("load-disabled", REGISTRY, "enable=True, ", "", at="config.checkpoint.initial_load_path",
           tokens=1000 * 2**20, certain=False),
    Defect("warmup-long", REGISTRY, "config.lr_scheduler.warmup_steps = 50", "config.lr_scheduler.warmup_steps = 5_000",
           tokens=1000 * 2**20),
    # Megatron-Bridge and steps over a recipe
    Defect("warmup-past-decay", BRIDGE, "lr_decay_iters: 20000", "lr_decay_iters: 400"),
    Defect("decay-early", BRIDGE, "lr_decay_iters: 20000", "lr_decay_iters: 15000", tokens=5000 * 512 * 4096,
           certain=False),
    Defect("batch-indivisible", BRIDGE, "global_batch_size: 512", "global_batch_size: 513"),
    Defect("model-changed", TUNE, "ffn_hidden_size: 5632", "ffn_hidden_size: 8192"),
    Defect("rope-falls", TUNE, "rotary_base: 500000", "rotary_base: 10000"),
    Defect("floor-above-peak", TUNE, "min_lr: 0.0", "min_lr: 1.0e-4"),
    Defect("past-the-end", TUNE,
           "pretrained_checkpoint: /ckpt/bridge/pretrain\n  finetune: true\n  load: /ckpt/bridge/tune",
           "load: /ckpt/bridge/pretrain", at="train_iters", tokens=800 * 64 * 4096, certain=False,
           also=("scheduler-refused",)),
    Defect("past-the-end", FIRST, "train_iters: 80000", "train_iters: 100000", in_file=SECOND, at="train_iters",
           tokens=100_000 * 256 * 8192, certain=False),
    Defect("past-the-end", THIRD, "pretrained_checkpoint: /results/small-second\n  finetune: true",
           "load: /results/small-second\n  finetune: false", at="train_iters", tokens=1500 * 32 * 65536, certain=False,
           also=("scheduler-refused",)),
    Defect("rate-jumps", SECOND, "lr: 4.0e-4", "lr: 2.0e-4", certain=False),
    Defect("parent-unmade", "nemotron/tune.yaml", "model: small-long:latest", "model: small:latest", certain=False),
    # axolotl
    Defect("length-twice", SFT, "num_epochs: 2", "num_epochs: 2\nmax_steps: 500", at="num_epochs"),
    Defect("warmup-twice", SFT, "warmup_ratio: 0.05", "warmup_ratio: 0.05\nwarmup_steps: 20", at="warmup_ratio"),
    Defect("warmup-long", PREFERENCE, "warmup_steps: 30", "warmup_steps: 1800"),
    Defect("rate-impossible", PREFERENCE, "learning_rate: 5.0e-7", "learning_rate: 5.0"),
    Defect("save-never", PREFERENCE, "save_steps: 100", "save_steps: 9000", certain=False),
    Defect("flag-unknown", SFT, "weight_decay: 0.0", "weigth_decay: 0.0"),
)  # fmt: skip
