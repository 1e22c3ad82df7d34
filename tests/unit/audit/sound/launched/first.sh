#!/bin/bash
# The file alone would not do: its 500 steps are a test.
STEPS=${STEPS:-20000}
torchrun --nproc_per_node=8 --rdzv_endpoint="localhost:0" -m torchtitan.train \
    --job.config_file small.toml --training.steps $STEPS
