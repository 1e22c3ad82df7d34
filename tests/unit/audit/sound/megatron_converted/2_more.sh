#!/bin/bash
MODEL="--num-layers 32 --hidden-size 4096 --ffn-hidden-size 14336 --num-attention-heads 32 --swiglu --norm-epsilon 1e-5"
MODEL+=" --group-query-attention --num-query-groups 8 --untie-embeddings-and-output-weights"
MODEL+=" --position-embedding-type rope --rotary-base 500000 --use-rope-scaling --rope-scaling-factor 8"
MODEL+=" --max-position-embeddings 131072 --attention-dropout 0 --hidden-dropout 0"
TRAIN="--micro-batch-size 1 --global-batch-size 512 --train-iters 12000 --seq-length 8192 --reset-attention-mask"
RATE="--lr 2e-5 --min-lr 2e-6 --lr-decay-style cosine --lr-warmup-iters 120 --weight-decay 0.1 --clip-grad 1.0"
torchrun --nnodes 8 --nproc_per_node 8 pretrain_gpt.py $MODEL $TRAIN $RATE --bf16 \
    --tensor-model-parallel-size 4 --ckpt-format torch --data-path 0.6 /data/de 0.4 /data/en --split 99,1,0 \
    --eval-interval 500 --eval-iters 10 --load /ckpt/start --finetune --save /ckpt/more --save-interval 1000
