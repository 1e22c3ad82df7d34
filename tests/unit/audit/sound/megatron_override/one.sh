#!/bin/bash
# Stable: warm-up, then a constant rate.
python -m torch.distributed.run --nproc-per-node 8 --nnodes 1 pretrain_gpt.py \
    --num-layers 12 --hidden-size 1024 --num-attention-heads 16 \
    --seq-length 2048 --max-position-embeddings 2048 \
    --attention-dropout 0 --hidden-dropout 0 \
    --micro-batch-size 4 \
    --global-batch-size 256 \
    --train-iters 6000 \
    --lr 2e-4 \
    --lr-decay-style constant \
    --lr-warmup-iters 300 \
    --data-path /data/web \
    --save /ckpt/stable \
    --save-interval 1000 \
    --bf16
