#!/bin/bash
set -euo pipefail
# Lengths in samples, and a batch that grows from 64 to 512 sequences.
SEQ_LENGTH=2048
BATCH=512
SAMPLES=$((BATCH * 4000))
options=""
options+=" --num-layers 8 --hidden-size 512 --num-attention-heads 8"
options+=" --seq-length ${SEQ_LENGTH} --max-position-embeddings $SEQ_LENGTH"
options+=" --attention-dropout 0.0 --hidden-dropout 0.0"
options+=" --micro-batch-size 4 --global-batch-size ${BATCH}"
options+=" --rampup-batch-size 64 64 100000"
options+=" --train-samples ${SAMPLES}"
options+=" --lr-decay-samples ${SAMPLES}"
options+=" --lr-warmup-samples 20000"
options+=" --lr 1e-3 --min-lr 1e-4 --lr-decay-style cosine"
options+=" --fp16 --initial-loss-scale 65536"
options+=" --data-path /data/a /data/b"
torchrun --nproc_per_node=8 pretrain_gpt.py $options --save "${CHECKPOINTS}" --load "${CHECKPOINTS}" --save-interval 250
