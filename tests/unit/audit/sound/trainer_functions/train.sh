#!/bin/bash
# Three runs, started by one function.
OUT=/out
run() {
    local name=${1:?name} model=$2
    shift 2
    accelerate launch --num_processes 8 train.py --model_name_or_path "$model" --output_dir "$OUT/$name" \
        --per_device_train_batch_size 2 --gradient_accumulation_steps 8 --lr_scheduler_type cosine --bf16 "$@"
}
run more somebody/base-7b --learning_rate 1e-5 --max_steps 8000 --warmup_ratio 0.03 --save_steps 1000
run chat "$OUT/more" --learning_rate 5e-6 --num_train_epochs 3 --warmup_ratio 0.03 --max_seq_length 8192
run best "$OUT/chat" --learning_rate 5e-7 --num_train_epochs 1 --warmup_ratio 0.1 --beta 0.1 --max_length 2048
