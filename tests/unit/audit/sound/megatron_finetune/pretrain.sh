#!/bin/bash
#SBATCH --nodes=4
#SBATCH --gpus-per-node=8
# A first run: cosine to a tenth of its peak.
OUT=/scratch/runs

MODEL="
    --num-layers 16
    --hidden-size 2048
    --ffn-hidden-size 5632
    --num-attention-heads 16
    --group-query-attention
    --num-query-groups 8
    --kv-channels 128
    --swiglu
    --seq-length 4096
    --max-position-embeddings 4096
    --rotary-base 500000
    --attention-dropout 0.0
    --hidden-dropout 0.0
"
TRAIN="
    --micro-batch-size 2
    --global-batch-size 512
    --train-iters 10000
    --lr 3e-4
    --min-lr 3e-5
    --lr-decay-style cosine
    --lr-decay-iters 10000
    --lr-warmup-iters 200
    --weight-decay 0.1
    --clip-grad 1.0
    --adam-beta1 0.9
    --adam-beta2 0.95
    --bf16
    --tensor-model-parallel-size 2
    --pipeline-model-parallel-size 2
"
srun torchrun --nnodes=4 --nproc_per_node=8 pretrain_gpt.py $MODEL $TRAIN \
    --data-path 0.7 /data/web 0.3 /data/code \
    --save $OUT/pretrain \
    --save-interval 500 \
    --eval-interval 1000
