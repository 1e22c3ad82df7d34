"""Defects of settings that a framework refuses or does not read, and of models that are converted or released."""

from __future__ import annotations

from tests.unit.audit.planted import JSON, SHELL, Defect
from tests.unit.audit.planted_formats import PREFERENCE, ROWS, STABLE, TRAIN

CONVERT, MORE, ANSWERS = (f"megatron_converted/{name}.sh" for name in ("1_convert", "2_more", "3_answers"))
STREAM, CHAT, PAIRS = (f"factory_streamed/{name}.yaml" for name in ("text", "answers", "pairs"))
TEXT = "axolotl_streamed/text.yml"
TUNED, PREFERRED = "trainer_python/answers.py", "trainer_python/preferences.py"
MAPPED = "megatron_yaml/model_config.yaml"
OPTIONS, FLAGS, COMMANDS = "megatron_options/run.sh", "factory_flags/run.sh", "trainer_commands/run.sh"
RECIPE, AGAIN = "bridge_recipes/1_text.sh", "bridge_recipes/2_answers.sh"
ALL, FEW = 12_000 * 512 * 8192, 2500 * 64 * 8192  # tokens of MORE and ANSWERS

DEFECTS = (
    # what a framework refuses
    Defect("launch-refused", STREAM, "mix_strategy: interleave_over\n", "", at="interleave_probs"),
    Defect("launch-refused", STREAM, "max_steps: 20000", "num_train_epochs: 1.0", at="streaming"),
    Defect("launch-refused", STREAM, "streaming: true", "streaming: true\nval_size: 0.01", at="val_size"),
    Defect("launch-refused", STREAM, "streaming: true", "streaming: true\nmax_samples: 1000", at="max_samples"),
    Defect("launch-refused", CHAT, "bf16: true", "bf16: true\ntrain_on_prompt: true\nmask_history: true",
           at="mask_history"),
    Defect("launch-refused", CHAT, "val_size: 0.01", "val_size: 0.01\neval_dataset: more", at="eval_dataset"),
    Defect("launch-refused", PAIRS, "cutoff_len: 4096", "cutoff_len: 4096\nneat_packing: true", at="neat_packing"),
    Defect("launch-refused", PAIRS, "cutoff_len: 4096", "cutoff_len: 4096\nadapter_name_or_path: somebody/lora",
           at="adapter_name"),
    Defect("launch-refused", TEXT, "max_steps: 12000", "num_epochs: 1", at="pretraining_dataset"),
    Defect("launch-refused", TEXT, "sequence_len: 8192", "sequence_len: 8192\nval_set_size: 0.01", at="val_set_size"),
    Defect("launch-refused", PREFERENCE, "sequence_len: 4096", "sequence_len: 4096\nsample_packing: true",
           at="sample_packing"),
    Defect("launch-refused", PREFERENCE, "save_steps: 100", "save_steps: 100\nsave_strategy: epoch", at="save_steps"),
    Defect("launch-refused", STABLE, "parallelism: {dp: 16, tp: 2", "parallelism: {dp: 16, tp: 8", at="parallelism:"),
    Defect("launch-refused", ROWS, "dataset_folder: [/data/web, /data/code]\n",
           "dataset_folder: [/data/web, /data/code]\n      vocab_size: 49000\n", at="vocab_size: 49000"),
    Defect("launch-refused", MORE, "--num-query-groups 8", "--num-query-groups 6", certain=True,
           also=("model-changed", "model-indivisible", "model-unlike-release")),
    Defect("launch-refused", MORE, "--save-interval 1000", "--save-interval 1000 --save-retain-interval 2500"),
    Defect("launch-refused", TRAIN, "interval = 1000", "interval = 1000\nkeep_latest_k = 1", at="keep_latest_k"),
    # what nothing reads
    Defect("flag-ignored", ANSWERS, "--group-query-attention ", "", at="MODEL+=\" --num-query", tokens=FEW),
    Defect("flag-ignored", MORE, "--use-rope-scaling ", "", at="MODEL+=\" --position", tokens=ALL),
    Defect("flag-ignored", MORE, "--lr-decay-style cosine", "--lr-decay-style cosine --lr-wsd-decay-iters 100",
           tokens=ALL),
    Defect("flag-ignored", JSON, '"lr_scheduler_type": "cosine"', '"lr_scheduler_type": "constant"',
           at='"warmup_steps"'),
    Defect("flag-unknown", SHELL, "    --bf16", "    --lr_scheduler_kwargs '{\"min_lr\": 1e-7}'",
           at="--lr_scheduler_k"),
    Defect("documents-mixed", CHAT, "neat_packing: true", "neat_packing: false", certain=False),
    Defect("documents-mixed", TUNED, "packing=True,", 'packing=True, attn_implementation="sdpa",', certain=False),
    Defect("documents-mixed", ANSWERS, "--sft ", "", at="torchrun", tokens=FEW, certain=False),
    Defect("eval-never", CHAT, "eval_strategy: steps\n", "", at="eval_steps", certain=False),
    Defect("eval-without-data", MORE, "--split 99,1,0", "--split 100,0,0", certain=False),
    Defect("eval-in-training", PAIRS, "dataset: pairs", "dataset: pairs\neval_dataset: chats", at="eval_dataset",
           certain=False),
    Defect("count-impossible", STREAM, "per_device_train_batch_size: 2", "per_device_train_batch_size: 0"),
    Defect("count-impossible", TRAIN, "seq_len = 4096", "seq_len = 0"),
    # models that are converted, released, and gone on from
    Defect("layout-changed", CONVERT, "--target-tensor-parallel-size 4", "--target-tensor-parallel-size 8",
           in_file=MORE, at="    --tensor-model", certain=False),
    Defect("layout-changed", ANSWERS, "--tensor-model-parallel-size 4", "--tensor-model-parallel-size 2",
           certain=False),
    Defect("model-unlike-release", MORE, "--ffn-hidden-size 14336", "--ffn-hidden-size 11008", certain=False,
           also=("model-changed",)),
    Defect("model-unlike-release", MORE, "--untie-embeddings-and-output-weights", "", at="torchrun", certain=False,
           also=("model-changed",)),
    Defect("model-unlike-release", MORE, "--rotary-base 500000", "--rotary-base 10000", certain=False),
    Defect("rope-scaling-dropped", ANSWERS, " --use-rope-scaling --rope-scaling-factor 8", "", at="torchrun",
           tokens=FEW),
    Defect("precision-changed", PAIRS, "bf16: true", "fp16: true", certain=False),
    Defect("parent-passed-over", PAIRS, "model_name_or_path: saves/answers", "model_name_or_path: saves/text",
           certain=False),
    Defect("step-not-saved", TUNED, "save_steps=500,", 'save_steps=500, save_strategy="no",', in_file=PREFERRED,
           at="TUNED ="),
    Defect("parent-unmade", "megatron_three/03_long.sbatch", "--load /runs/decay", "--load /runs/annealed",
           certain=False),
    Defect("saves-over-parent", CHAT, "output_dir: saves/answers", "output_dir: saves/text", certain=False,
           also=()),
    # other spellings of a launch
    Defect("floor-above-peak", MAPPED, "--min-lr: 5e-5", "--min-lr: 5e-3"),
    Defect("model-indivisible", MAPPED,
           "  --decoder-first-pipeline-num-layers: 6\n  --decoder-last-pipeline-num-layers: 7\n", "",
           at="  --pipeline-model"),
    Defect("decay-early", OPTIONS, "--lr-decay-iters $STEPS", "--lr-decay-iters 15000", tokens=5000 * 256 * 2048,
           certain=False),
    Defect("model-indivisible", OPTIONS, "--num-attention-heads 12", "--num-attention-heads 13"),
    Defect("adapter-as-model", FLAGS, "--dataset wiki --finetuning_type full", "--dataset wiki --finetuning_type lora",
           at="llamafactory-cli train --stage sft", certain=False),
    Defect("parent-misspelt", COMMANDS, "--model_name_or_path runs/chat", "--model_name_or_path runs/caht",
           certain=False),
    Defect("flag-unknown", COMMANDS, "cosine_with_min_lr", "cosine"),
    # scripts of Python, and recipes that a script changes
    Defect("step-not-saved", PREFERRED, "checkpoint-2000", "checkpoint-1800", certain=False),
    Defect("warmup-long", PREFERRED, "warmup_steps=50", "warmup_steps=600"),
    Defect("rate-impossible", TUNED, "learning_rate=2e-5", "learning_rate=2e5"),
    Defect("decay-early", RECIPE, "lr_decay_iters=$STEPS", "lr_decay_iters=15000", tokens=5000 * 512 * 8192,
           certain=False),
    Defect("context-twice", AGAIN, "dataset.seq_length=8192", "dataset.seq_length=4096"),
    Defect("past-the-end", AGAIN, "pretrained_checkpoint=$WORK/text checkpoint.save=$WORK/answers checkpoint.load",
           "save=$WORK/answers checkpoint.load=$WORK/text checkpoint.load_main", at="STEPS=", tokens=1000 * 128 * 8192,
           certain=False, also=("scheduler-refused",)),
)  # fmt: skip
