#!/bin/bash
# A Trainer of one's own, with mixtures as folder@share.
model=${MODEL:-models/8b}
steps=${STEPS:-5000}
overrides=${OVERRIDES:-""}
mixture=(
    data/web@0.5
    data/books@0.3
    data/code@0.2
)
header="torchrun --nnodes=1 --nproc_per_node=8 -m training.train"
arguments=(
    --output_dir checkpoints/run
    --model_name_or_path $model
    --max_steps $steps
    --per_device_train_batch_size 1
    --gradient_accumulation_steps 8
    --learning_rate 1e-5
    --lr_scheduler_type cosine
    --min_lr_ratio 0.1
    --warmup_ratio 0.1
    --weight_decay 0.1
    --bf16
    --save_steps 250
    --config_overrides "rope_theta=8000000"
    --tokenized_mds_train ${mixture[@]}
    $overrides
    $@
)
echo "${header} ${arguments[@]}"
${header} "${arguments[@]}" 2>&1 | tee -a logs/run.log
