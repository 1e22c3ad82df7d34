#!/bin/bash
MODEL="--num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 --swiglu --norm-epsilon 1e-5"
MODEL+=" --group-query-attention --num-query-groups 8 --untie-embeddings-and-output-weights"
MODEL+=" --position-embedding-type rope --rotary-base 500000 --use-rope-scaling --rope-scaling-factor 8"
MODEL+=" --max-position-embeddings 131072 --attention-dropout 0 --hidden-dropout 0"
TRAIN="--sft --micro-batch-size 1 --global-batch-size 64 --train-iters 2500 --seq-length 8192"
RATE="--lr 8e-6 --min-lr 0 --lr-decay-style cosine --lr-warmup-iters 75 --weight-decay 0.0 --clip-grad 1.0"
torchrun --nnodes 2 --nproc_per_node 8 pretrain_gpt.py $MODEL $TRAIN $RATE --bf16 \
    --tensor-model-parallel-size 4 --ckpt-format torch --data-path /data/answers.jsonl \
    --load /ckpt/more --finetune --save /ckpt/answers --save-interval 500
