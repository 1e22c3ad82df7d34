#!/bin/bash
WORK=${WORK:-/work}
STEPS=1000
uv run python -m torch.distributed.run --nproc_per_node=8 scripts/training/run_recipe.py --recipe small_sft_config \
    model.seq_length=8192 dataset.seq_length=8192 \
    train.train_iters=$STEPS train.global_batch_size=128 train.micro_batch_size=1 \
    optimizer.lr=1e-5 optimizer.min_lr=0 scheduler.lr_warmup_iters=50 scheduler.lr_decay_iters=$STEPS \
    checkpoint.pretrained_checkpoint=$WORK/text checkpoint.save=$WORK/answers checkpoint.load=$WORK/answers \
    checkpoint.save_interval=200
