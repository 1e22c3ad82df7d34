"""Defects planted into recipes of OLMo's YAML, llm-foundry, torchtune and Levanter, and of what launch lines name."""

from __future__ import annotations

from tests.unit.audit.planted import Defect

FIRST, SECOND = "olmo_yaml/stage1.yaml", "olmo_yaml/stage2.yaml"
PLAIN, TUNED = "foundry/1_pretrain.yaml", "foundry/2_tune.yaml"
DOMAIN, ANSWERS = "torchtune/1_domain.yaml", "torchtune/2_answers.yaml"
STABLE, DECAY = "levanter/1_stable.yaml", "levanter/2_decay.yaml"
RUN, ZERO = "deepspeed/run.sh", "deepspeed/zero3.json"
ANNEALED = 11_921 * 1024 * 4096

DEFECTS = (
    # OLMo's YAML
    Defect("model-changed", SECOND, "n_layers: 16", "n_layers: 18"),
    Defect("step-not-saved", SECOND, "step500000-", "step500001-"),
    Defect("parent-not-finished", SECOND, "step500000-", "step400000-", tokens=100_000 * 1024 * 4096, certain=False),
    Defect("rope-falls", SECOND, "rope_theta: 500000", "rope_theta: 10000", tokens=ANNEALED),
    Defect("rate-jumps", SECOND, "learning_rate: 4.0e-5", "learning_rate: 4.0e-3", certain=False),
    Defect("vocabulary-short", FIRST, "embedding_size: 100352", "embedding_size: 50304", also=("model-changed",)),
    Defect("decay-unfinished", FIRST, "t_max: 2.09715200e12", "t_max: 5e12", certain=False),
    Defect("floor-above-peak", FIRST, "alpha_f: 0.1", "alpha_f: 10"),
    Defect("flag-unknown", FIRST, "max_grad_norm: 1.0", "max_grad_nrom: 1.0"),
    # llm-foundry
    Defect("warmup-long", PLAIN, "t_warmup: 100ba", "t_warmup: 30000ba", tokens=24_800 * 512 * 2048),
    Defect("rate-impossible", PLAIN, "weight_decay: 0.0", "weight_decay: 0.1", tokens=24_800 * 512 * 2048),
    Defect("eval-in-training", PLAIN, "split: val", "split: train  # too", certain=False),
    Defect(
        "context-twice",
        PLAIN,
        "  max_seq_len: ${variables.length}\n  vocab",
        "  max_seq_len: 1024\n  vocab",
        at="    max_seq_len",
    ),
    Defect("rate-ignored", TUNED, "load_weights_only: true\n", "", at="lr: 1.0e-5"),
    Defect(
        "tokenizer-changed", TUNED, "name: EleutherAI/gpt-neox-20b", "name: meta-llama/Llama-2-7b-hf", certain=False
    ),
    Defect("parent-misspelt", TUNED, "/runs/small/latest", "/runs/smal1/latest", certain=False),
    # torchtune
    Defect("launch-refused", DOMAIN, "optimizer_in_bwd: False", "optimizer_in_bwd: True"),
    Defect("launch-refused", DOMAIN, "  max_seq_len: 8192\n", "", at="packed: True"),
    Defect("launch-refused", DOMAIN, "dtype: bf16", "dtype: fp16"),
    Defect(
        "launch-refused",
        DOMAIN,
        "enable_activation_checkpointing: True\nenable_activation_offloading: False",
        "enable_activation_checkpointing: False\nenable_activation_offloading: True",
        at="enable_activation_off",
    ),
    Defect("model-changed", ANSWERS, "llama3_1.llama3_1_8b", "llama3_1.llama3_1_70b", certain=False),
    Defect("parent-misspelt", ANSWERS, "/runs/domain/epoch_0", "/runs/doamin/epoch_0", certain=False),
    # Levanter
    Defect("warmup-long", STABLE, "warmup: 0.01", "warmup: 60000", tokens=50_000 * 1024 * 4096, also=("rate-jumps",)),
    Defect(
        "past-the-end",
        DECAY,
        "num_train_steps: 60000",
        "num_train_steps: 40000",
        tokens=40_000 * 1024 * 4096,
        certain=False,
        also=("rate-jumps",),
    ),
    Defect("warmup-past-decay", DECAY, "decay: 10_000", "decay: 59_900", also=("rate-jumps",)),
    # what a launch line names beside the run's configuration
    Defect("deepspeed-differs", ZERO, '"gradient_accumulation_steps": 4', '"gradient_accumulation_steps": 2'),
    Defect("deepspeed-differs", ZERO, '"train_batch_size": 128', '"train_batch_size": 256'),
    Defect("deepspeed-differs", ZERO, '"lr": 1e-5', '"lr": 5e-5'),
    Defect("deepspeed-differs", ZERO, '"gradient_clipping": "auto"', '"gradient_clipping": 0.1'),
    Defect("deepspeed-differs", ZERO, '"bf16": {"enabled": "auto"}', '"fp16": {"enabled": true}'),
    Defect("rate-impossible", RUN, "--learning_rate=5e-6", "--learning_rate=5e6"),
    Defect(
        "saves-over-parent", "deepspeed/sft.yaml", "output_dir: runs/answers", "output_dir: runs/domain", certain=False
    ),
    # lines that end too early, and text that nothing is given
    Defect("flags-not-passed", RUN, "--weight_decay 0.1 \\\n", "--weight_decay 0.1\n", at="--weight_decay"),
    Defect("flags-not-passed", RUN, "--weight_decay 0.1 \\\n", "--weight_decay 0.1 \\ \n", at="--weight_decay"),
    # adapters
    Defect("template-changed", "factory_merged/3_dpo.yaml", "template: qwen", "template: llama3", certain=False),
    Defect(
        "flag-ignored",
        "factory_merged/1_sft.yaml",
        "finetuning_type: lora",
        "finetuning_type: full",
        at="lora_rank",
        certain=False,
    ),
)
