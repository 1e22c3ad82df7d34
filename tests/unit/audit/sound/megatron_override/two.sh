#!/bin/bash
# Goes on where the first run ended: its step, its moments, a linear decay from its rate.
python -m torch.distributed.run --nproc-per-node 8 --nnodes 1 pretrain_gpt.py \
    --num-layers 12 --hidden-size 1024 --num-attention-heads 16 \
    --seq-length 2048 --max-position-embeddings 2048 \
    --attention-dropout 0 --hidden-dropout 0 \
    --micro-batch-size 4 \
    --global-batch-size 256 \
    --train-iters 8000 \
    --lr 2e-4 \
    --min-lr 0 \
    --lr-decay-style WSD \
    --lr-wsd-decay-style linear \
    --lr-wsd-decay-iters 2000 \
    --lr-decay-iters 8000 \
    --lr-warmup-iters 300 \
    --override-opt_param-scheduler \
    --data-path /data/web \
    --load /ckpt/stable \
    --ckpt-step 6000 \
    --save /ckpt/decay \
    --save-interval 1000 \
    --bf16
