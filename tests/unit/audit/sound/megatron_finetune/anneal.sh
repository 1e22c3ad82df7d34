#!/bin/bash
# The weights of the first run, a new optimizer, and a decay to nothing.
OUT=/scratch/runs
args=(
    --num-layers 16
    --hidden-size 2048
    --ffn-hidden-size 5632
    --num-attention-heads 16
    --group-query-attention
    --num-query-groups 8
    --kv-channels 128
    --swiglu
    --seq-length 8192
    --max-position-embeddings 8192
    --rotary-base 1000000
    --attention-dropout 0.0
    --hidden-dropout 0.0
    --micro-batch-size 1
    --global-batch-size 256
    --train-iters 1200
    --lr 3e-5
    --min-lr 0
    --lr-decay-style linear
    --lr-warmup-fraction 0.01
    --weight-decay 0.1
    --adam-beta2 0.95
    --bf16
    --tensor-model-parallel-size 2
    --data-path 1 /data/books
    --load $OUT/pretrain
    --finetune
    --save $OUT/anneal
    --save-interval 200
)
torchrun --nnodes 2 --nproc_per_node 8 pretrain_gpt.py "${args[@]}"
