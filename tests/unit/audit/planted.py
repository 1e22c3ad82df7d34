"""Defects that are planted into the sound recipes beside this file: one edit each, and where it has to be found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOUND = Path(__file__).parent / "sound"


@dataclass(frozen=True)
class Defect:
    """One edit of a sound recipe. `at`: the text whose line is named, the new text's where it is None."""

    kind: str
    file: str  # folder and file of a sound recipe
    old: str
    new: str
    at: str | None = None
    in_file: str | None = None  # where it is reported in another file than the one edited
    tokens: int | None = None  # what it costs
    certain: bool = True
    also: tuple[str, ...] = ()  # kinds that follow from the same edit

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.new.strip() or self.old.strip()}"


PRETRAIN, ANNEAL = "megatron_finetune/pretrain.sh", "megatron_finetune/anneal.sh"
ONE, TWO = "megatron_override/one.sh", "megatron_override/two.sh"
SAMPLES, LAUNCHER = "megatron_samples/run.sh", "megatron_launcher/train.sh"
JSON, FACTORY, SFT = "arguments_json/training_args.json", "factory/pretrain.yaml", "factory/sft.yaml"
RESUMED, RESUMING = "trainer_resumed/first.json", "trainer_resumed/second.json"
DECAY, LONG = "megatron_three/02_decay.sbatch", "megatron_three/03_long.sbatch"
ORDER = "megatron_override/audit.yaml"
SHELL = "trainer_shell/run.sh"
STEP = 512 * 4096  # tokens of a step of PRETRAIN

DEFECTS = (
    # the learning rate inside a run
    Defect("decay-early", PRETRAIN, "--lr-decay-iters 10000", "--lr-decay-iters 8000", tokens=2000 * STEP,
           certain=False),
    Defect("decay-early", ANNEAL, "--lr-warmup-fraction 0.01", "--lr-decay-iters 900", tokens=300 * 256 * 8192),
    Defect("decay-early", SAMPLES, "--lr-decay-samples ${SAMPLES}", "--lr-decay-samples 1024000", certain=False),
    Defect("decay-unfinished", PRETRAIN, "--lr-decay-iters 10000", "--lr-decay-iters 12000", certain=False),
    Defect("decay-unfinished", TWO, "--lr-decay-iters 8000", "--lr-decay-iters 9000", certain=False),
    Defect("warmup-long", JSON, '"warmup_steps": 100', '"warmup_steps": 2500'),
    Defect("warmup-long", FACTORY, "warmup_ratio: 0.05", "warmup_steps: 3000"),
    Defect("warmup-past-decay", PRETRAIN, "--lr-warmup-iters 200", "--lr-warmup-iters 12000", at="--lr-decay-iters",
           also=("warmup-long",)),
    Defect("floor-above-peak", PRETRAIN, "--min-lr 3e-5", "--min-lr 3e-3"),
    Defect("floor-above-peak", SHELL, "--min_lr_ratio 0.1", "--min_lr_ratio 1.1"),
    Defect("warmup-twice", ANNEAL, "--lr-warmup-fraction 0.01", "--lr-warmup-fraction 0.01 --lr-warmup-iters 10"),
    Defect("warmup-twice", JSON, '"warmup_ratio": 0.0', '"warmup_ratio": 0.1'),
    Defect("warmup-twice", SHELL, "    --warmup_ratio 0.1", "    --warmup_ratio 0.1\n    --warmup_steps 50",
           at="--warmup_ratio"),
    Defect("rate-impossible", PRETRAIN, "--lr 3e-4", "--lr 3e4"),
    Defect("no-number", PRETRAIN, "--lr 3e-4", "--lr 3e-4x"),
    Defect("no-number", FACTORY, "learning_rate: 2.0e-5", "learning_rate: 2.O5e-5"),
    Defect("rate-impossible", JSON, '"adam_beta2": 0.95', '"adam_beta2": 0.75'),
    Defect("rate-impossible", FACTORY, "learning_rate: 2.0e-5", "learning_rate: 2.0"),
    Defect("rate-impossible", PRETRAIN, "--clip-grad 1.0", "--clip-grad 100"),
    # steps, batches, data
    Defect("length-twice", SAMPLES, 'train-samples ${SAMPLES}"', 'train-samples ${SAMPLES} --train-iters 4000"',
           at="SAMPLES=", also=("ramp-with-steps", "decay-unfinished")),
    Defect("length-twice", SFT, "num_train_epochs: 2.0", "num_train_epochs: 2.0\nmax_steps: 100",
           at="num_train_epochs"),
    Defect("ramp-with-steps", PRETRAIN, "--train-iters 10000", "--train-iters 10000 --rampup-batch-size 64 64 100000"),
    Defect("ramp-with-steps", SAMPLES, "64 64 100000", "64 100 100000"),
    Defect("ramp-with-steps", SAMPLES, "64 64 100000", "64 100000"),
    Defect("weights-sum", PRETRAIN, "0.3 /data/code", "0.4 /data/code", certain=False),
    Defect("weights-sum", SHELL, "data/code@0.2", "data/code@0.25", at="data/web@", certain=False),
    Defect("data-counts", PRETRAIN, "0.7 /data/web 0.3 /data/code", "0.7 /data/web 0.3"),
    Defect("data-counts", FACTORY, "dataset: web", "dataset: web,code\nmix_strategy: interleave_under\n"
           "interleave_probs: 0.6,0.3,0.1", at="interleave_p"),
    Defect("weights-sum", FACTORY, "dataset: web", "dataset: web,code\nmix_strategy: interleave_under\n"
           "interleave_probs: [0.6, 0.3]", at="interleave_p",
           certain=False),
    Defect("budget-claimed", ORDER, "one.sh: {tokens: 3.15B}", "one.sh: {tokens: 6.3B}", in_file=ONE,
           at="--train-iters",
           tokens=6_300_000_000 - 6000 * 256 * 2048, certain=False),
    Defect("save-never", PRETRAIN, "--save-interval 500", "--save-interval 50000", certain=False),
    Defect("save-never", JSON, '"save_steps": 500', '"save_steps": 5000', certain=False),
    Defect("eval-never", PRETRAIN, "--eval-interval 1000", "--eval-interval 100000", certain=False),
    Defect("eval-never", JSON, '"eval_steps": 500', '"eval_steps": 50000', certain=False),
    # from one run to the next
    Defect("past-the-end", TWO, "--train-iters 8000", "--train-iters 2000", tokens=2000 * 256 * 2048, certain=False,
           also=("decay-unfinished",)),
    Defect("past-the-end", SAMPLES, '--load "${CHECKPOINTS}"', "--load /ckpt/first/iter_0005000", at="SAMPLES=",
           certain=False),
    Defect("step-not-saved", TWO, "--ckpt-step 6000", "--ckpt-step 5750", certain=False),
    Defect("step-not-saved", TWO, "--ckpt-step 6000", "--ckpt-step 7000", also=("rate-jumps",)),
    Defect("parent-not-finished", TWO, "--ckpt-step 6000", "--ckpt-step 4000", tokens=2000 * 256 * 2048, certain=False,
           also=("budget-claimed",)),
    Defect("scheduler-refused", TWO, "    --override-opt_param-scheduler \\\n", "", at="--lr-decay-iters",
           certain=False),
    Defect("rate-ignored", TWO, "--override-opt_param-scheduler", "--use-checkpoint-opt_param-scheduler --lr 1e-4",
           tokens=2000 * 256 * 2048, also=("flag-twice",)),
    Defect("rate-jumps", TWO, "--lr 2e-4", "--lr 5e-5", certain=False),
    Defect("flags-contradict", TWO, "--override-opt_param-scheduler",
           "--override-opt_param-scheduler --use-checkpoint-opt_param-scheduler"),
    Defect("flags-contradict", TWO, "--override-opt_param-scheduler", "--no-load-optim", certain=False),
    Defect("state-not-saved", ONE, "--bf16", "--bf16 --no-save-optim", in_file=TWO, at="--ckpt-step"),
    Defect("state-not-saved", RESUMED, '"save_steps": 500', '"save_steps": 500, "save_only_model": true',
           in_file=RESUMING, at='"resume_from_checkpoint"'),
    Defect("model-changed", ANNEAL, "--num-layers 16", "--num-layers 18"),
    Defect("model-changed", ANNEAL, "--ffn-hidden-size 5632", "--ffn-hidden-size 5504"),
    Defect("rope-falls", ANNEAL, "--rotary-base 1000000", "--rotary-base 100000"),
    Defect("rope-falls", ANNEAL, "    --rotary-base 1000000\n", "", at="torchrun", certain=False),
    Defect("rope-from-checkpoint", ANNEAL, "    --finetune\n", "    --finetune --use-checkpoint-args\n",
           at="--rotary-base"),
    # machines and models
    Defect("batch-indivisible", PRETRAIN, "--global-batch-size 512", "--global-batch-size 500"),
    Defect("batch-indivisible", SAMPLES, "BATCH=512", "BATCH=510", also=("ramp-with-steps",)),
    Defect("devices-indivisible", PRETRAIN, "--pipeline-model-parallel-size 2", "--pipeline-model-parallel-size 3",
           at="--tensor-model", also=("model-indivisible",)),
    Defect("model-indivisible", LAUNCHER, "TP=4", "TP=12", also=("devices-indivisible",)),
    Defect("model-indivisible", PRETRAIN, "--num-query-groups 8", "--num-query-groups 6", also=("model-changed",)),
    Defect("positions-short", ANNEAL, "--max-position-embeddings 8192", "--max-position-embeddings 4096"),
    Defect("positions-short", LAUNCHER, "--seq-length 8192", "--seq-length 16384"),
    Defect("context-past-rope", ANNEAL, "--rotary-base 1000000", "--rotary-base 1000", also=("rope-falls",)),
    Defect("context-past-rope", SAMPLES, "--train-samples", "--rotary-base 20 --train-samples",
           tokens=512 * 4000 * 2048),
    Defect("precision-twice", PRETRAIN, "--bf16", "--bf16 --fp16"),
    Defect("precision-twice", JSON, '"fp16": false', '"fp16": true'),
    Defect("precision-twice", SAMPLES, "--fp16", "--bf16", certain=False),
    Defect("dropout-default", ANNEAL, "    --attention-dropout 0.0\n", "", at="torchrun", certain=False),
    # slips of the text
    Defect("flag-twice", PRETRAIN, "--weight-decay 0.1", "--weight-decay 0.1 --lr 1e-4"),
    Defect("flag-twice", SHELL, "    --bf16", "    --max_steps 100"),
    Defect("flag-twice", JSON, '"seed": 1', '"seed": 1,\n  "learning_rate": 2e-5', at='"learning_rate": 2e-5'),
    Defect("flag-twice", FACTORY, "bf16: true", "bf16: true\nlearning_rate: 1.0e-5", at="learning_rate: 1.0e-5"),
    Defect("flag-unknown", JSON, '"warmup_steps": 100', '"warmup_step": 100'),
    Defect("flag-unknown", SFT, "learning_rate: 1.0e-5", "learning_rates: 1.0e-5"),
    Defect("flag-unknown", SHELL, "--weight_decay 0.1", "--weigth_decay 0.1"),
    Defect("rate-ignored", RESUMING, '"learning_rate": 2e-05', '"learning_rate": 1e-05', certain=False),
    Defect("past-the-end", RESUMING, '"max_steps": 4000', '"max_steps": 1500', certain=False),
    Defect("flag-unknown", PRETRAIN, "--lr-decay-style", "--lr-decay-stlye"),
    Defect("flag-without-value", PRETRAIN, "--weight-decay 0.1", "--weight-decay"),
    Defect("flags-not-passed", PRETRAIN, "srun torchrun", "MORE=(--adam-eps 1e-5)\nsrun torchrun", at="MORE="),
    # figures that functions print
    Defect("past-the-end", LONG, " --finetune \\\n", " \\\n", at="    echo --micro", tokens=2500 * 128 * 32768,
           certain=False, also=("scheduler-refused",)),
    Defect("decay-early", DECAY, "--train-iters 250000", "--train-iters 300000", at="$(curve",
           tokens=50_000 * 2048 * 4096, certain=False),
    Defect("scheduler-refused", DECAY, "$(curve 250000)", "$(curve 240000)",
           certain=False, also=("decay-early",)),
    Defect("positions-short", LONG, "--max-position-embeddings $1", "--max-position-embeddings 4096"),
    Defect("variable-unset", DECAY, "--load $FROM", "--load $FORM", certain=False, also=("decay-unfinished",)),
    Defect("variable-unset", SAMPLES, "--max-position-embeddings $SEQ_LENGTH", "--max-position-embeddings $SEQ_LENGHT",
           certain=False),
)  # fmt: skip
