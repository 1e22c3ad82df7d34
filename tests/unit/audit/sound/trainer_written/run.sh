#!/usr/bin/env bash
# Arguments given one by one; the model's path, the data and the node are the environment's.
function run() {
    local lr=$1
    accelerate launch --num_processes 8 -m finetune \
        --model_name_or_path "${MODEL_PATH}" \
        --output_dir "out/lr_${lr}" \
        --num_train_epochs 3 \
        --per_device_train_batch_size 4 \
        --gradient_accumulation_steps 4 \
        --learning_rate "$lr" \
        --lr_scheduler_type linear \
        --warmup_ratio 0.03 \
        --save_strategy epoch \
        --bf16 True --report_to wandb --logging_steps 10
}
run 2e-5
