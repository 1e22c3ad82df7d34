#!/bin/bash
WORK=${WORK:-/work}
STEPS=20000
uv run python -m torch.distributed.run --nproc_per_node=8 scripts/training/run_recipe.py --recipe small_pretrain_config \
    model.tensor_model_parallel_size=1 model.seq_length=8192 dataset.sequence_length=8192 \
    train.train_iters=$STEPS train.global_batch_size=512 train.micro_batch_size=2 \
    optimizer.lr=3e-4 optimizer.min_lr=3e-5 \
    scheduler.lr_warmup_iters=500 scheduler.lr_decay_iters=$STEPS scheduler.lr_decay_style=cosine \
    checkpoint.save=$WORK/text checkpoint.load=$WORK/text checkpoint.save_interval=1000
