#!/bin/bash
# Both phases write to one folder; audit.yaml says which goes on from which.
set -x
: "${DATA:=/data}"
megatron_args="--num-layers 12 --hidden-size 768 --num-attention-heads 12 --seq-length 1024 --max-position-embeddings 1024
  --micro-batch-size 8 --global-batch-size 512 --hidden-dropout 0 --attention-dropout 0 --bf16"
while getopts "d" option; do case $option in d) DEBUG=1 ;; esac; done
torchrun --nnodes 1 --nproc_per_node 8 pretrain_gpt.py $megatron_args --train-iters 20000 --lr-decay-iters 30000 \
    --lr 6e-4 --min-lr 6e-5 --lr-decay-style cosine --lr-warmup-iters 500 --data-path $DATA/first \
    --save checkpoints/shared --load checkpoints/shared --save-interval 1000
