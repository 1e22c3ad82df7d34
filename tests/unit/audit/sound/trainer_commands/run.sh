#!/bin/bash
trl sft --model_name_or_path somebody/base --dataset_name somebody/chat --max_length 2048 --learning_rate 2e-5 \
    --per_device_train_batch_size 8 --gradient_accumulation_steps 2 --num_train_epochs 1 --warmup_ratio 0.1 \
    --lr_scheduler_type cosine_with_min_lr --lr_scheduler_kwargs '{"min_lr_rate": 0.1}' --bf16 --output_dir runs/chat
trl dpo --model_name_or_path runs/chat --dataset_name somebody/pairs --max_length 2048 --learning_rate 5e-7 \
    --per_device_train_batch_size 4 --gradient_accumulation_steps 4 --max_steps 800 --warmup_steps 80 \
    --lr_scheduler_type cosine --bf16 --output_dir runs/pairs --save_steps 200
