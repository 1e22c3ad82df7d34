#!/bin/bash
# A run that ends at half of its schedule, and another one with other data from there.
MODEL=(--num-layers 24 --hidden-size 2048 --num-attention-heads 16 --seq-length 2048 --max-position-embeddings 2048
       --attention-dropout 0 --hidden-dropout 0)
TRAIN=(--train-iters 50000 --global-batch-size 512 --micro-batch-size 8 --bf16 --clip-grad 1.0
       --lr 4e-4 --min-lr 4e-5 --lr-decay-style cosine --lr-decay-iters 50000 --lr-warmup-iters 1000)
torchrun pretrain_gpt.py "${MODEL[@]}" "${TRAIN[@]}" --tensor-model-parallel-size 1 --data-path /data/web \
    --save /ckpt/web --save-interval 5000 --exit-interval 25000
