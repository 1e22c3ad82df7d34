#!/bin/bash
source common.sh
shared
NODES=${SLURM_NNODES:-2}
TP=4
LAYERS=32
case "$1" in
    debug) EXTRA="--log-interval 1" ;;
    *) EXTRA="" ;;
esac
if [ "$TP" -gt 1 ]; then
    PARALLEL="--sequence-parallel"
else
    PARALLEL=""
fi
cmd="pretrain_gpt.py --num-layers $LAYERS --hidden-size 4096 --num-attention-heads 32 --tensor-model-parallel-size $TP"
cmd="$cmd --seq-length 8192 --max-position-embeddings 8192 --rotary-base 500000 --global-batch-size 1024 --micro-batch-size 1"
cmd="$cmd --train-iters 50_000 --lr 1e-4 --min-lr 1e-5 --lr-decay-style cosine --lr-warmup-iters 1000 $COMMON $PARALLEL $EXTRA"
cmd="$cmd --save /ckpt/run --load /ckpt/run --save-interval 1000"
echo "$cmd"
bash -c "torchrun --nnodes $NODES --nproc_per_node $GPUS_PER_NODE $cmd"
