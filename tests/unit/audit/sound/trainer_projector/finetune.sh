#!/bin/bash
deepspeed train.py \
    --model_name_or_path somebody/chat-7b \
    --data_path data/mix.json \
    --pretrain_mm_mlp_adapter checkpoints/chat-7b-projector/mm_projector.bin \
    --bf16 True \
    --output_dir checkpoints/chat-7b-pictures \
    --num_train_epochs 1 \
    --per_device_train_batch_size 16 \
    --learning_rate 2e-5 \
    --warmup_ratio 0.03 \
    --lr_scheduler_type cosine
