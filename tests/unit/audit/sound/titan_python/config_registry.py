"""Configurations in the way of torchtitan's registries: functions that return one, or change another's."""

from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.optimizer import LRSchedulersContainer, default_adamw
from torchtitan.config import ParallelismConfig, TrainingConfig
from torchtitan.trainer import Trainer

ROW = 4096


def small() -> Trainer.Config:
    return Trainer.Config(
        dump_folder="/runs/py",
        optimizer=default_adamw(lr=6e-4),
        lr_scheduler=LRSchedulersContainer.Config(warmup_steps=400, decay_ratio=0.25, min_lr_factor=0.1),
        training=TrainingConfig(
            num_tokens_per_microbatch_per_dp_rank=4 * ROW,
            num_tokens_per_train_step=256 * ROW,
            max_context_length=ROW,
            steps=10_000,
        ),
        parallelism=ParallelismConfig(tensor_parallel_degree=2),
        checkpoint=CheckpointManager.Config(enable=True, folder="checkpoint", interval=500),
    )


def small_longer() -> Trainer.Config:
    config = small()
    config.dump_folder = "/runs/py_longer"
    config.training.max_context_length = 4 * ROW
    config.training.steps = 1_000
    config.optimizer.lr = 1e-4
    config.lr_scheduler.warmup_steps = 50
    config.checkpoint.interval = 250
    config.checkpoint.initial_load_path = "/runs/py/checkpoint/step-10000"
    return config
