#!/bin/bash
# Weights as proportions; the first figure of a flag twice is the same; a loop that builds the data's list.
DATA=""
for name in web books code; do
    DATA="$DATA 2 /data/$name"
done
source ./environment_of_the_site.sh
ARGS="--num-layers 4 --hidden-size 256 --num-attention-heads 4 --seq-length 512 --max-position-embeddings 1024"
ARGS="$ARGS --micro-batch-size 2 --global-batch-size 64 --train-iters 900 --lr 1e-3 --lr-decay-style constant"
ARGS="$ARGS --attention-dropout 0.1 --hidden-dropout 0.1 --train-iters 900 --load $BASE --finetune --save-interval 1000"
python pretrain_gpt.py $ARGS --data-path $DATA
