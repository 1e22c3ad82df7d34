#!/bin/bash
# pre-training further, then answers; both with DeepSpeed's file
deepspeed --num_gpus 8 --master_port 9901 src/train_pt.py \
    --deepspeed zero3.json \
    --model_name_or_path /models/Llama-2-7b \
    --train_file domain.json \
    --output_dir runs/domain \
    --bf16 True \
    --max_steps 4000 \
    --per_device_train_batch_size 4 \
    --gradient_accumulation_steps 4 \
    --learning_rate 1e-5 \
    --lr_scheduler_type cosine \
    --warmup_steps 100 \
    --weight_decay 0.1 \
    --save_steps 500
accelerate launch --config_file accelerate.yaml src/train_sft.py configs/sft.yaml \
    --learning_rate=5e-6
