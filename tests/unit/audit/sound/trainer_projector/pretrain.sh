#!/bin/bash
# A projector for pictures first, then the whole model with it.
deepspeed train.py \
    --model_name_or_path somebody/chat-7b \
    --data_path data/captions.json \
    --tune_mm_mlp_adapter True \
    --bf16 True \
    --output_dir checkpoints/chat-7b-projector \
    --num_train_epochs 1 \
    --per_device_train_batch_size 32 \
    --learning_rate 1e-3 \
    --warmup_ratio 0.03 \
    --lr_scheduler_type cosine
