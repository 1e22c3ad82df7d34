#!/bin/bash
# Options with what they are without them; flags that are parameters of the script.
RATE=6e-4
STEPS=20000
FROM=""
while [[ $# -gt 0 ]]; do
    case $1 in
        --rate) RATE=$2; shift 2 ;;
        --steps) STEPS=$2; shift 2 ;;
        --from) FROM=$2; shift 2 ;;
        *) echo "no option $1"; exit 1 ;;
    esac
done
MODEL=(
    --num-layers 12
    --hidden-size 768 --ffn-hidden-size 2048
    # as many heads as layers
    --num-attention-heads 12
    --attention-dropout 0 --hidden-dropout 0
)
set -- "${MODEL[@]}" --swiglu --bf16
[ -n "$FROM" ] && set -- "$@" --load "$FROM" --finetune
exec torchrun --nproc_per_node 8 pretrain_gpt.py "$@" --seq-length 2048 --max-position-embeddings 2048 \
    --micro-batch-size 4 --global-batch-size 256 --train-iters $STEPS --lr $RATE --min-lr 6e-5 \
    --lr-decay-style cosine --lr-decay-iters $STEPS --lr-warmup-iters 500 --clip-grad 1.0 \
    --data-path /data/a --save /ckpt/small --save-interval 1000
