"""A stage's configuration for Megatron-Bridge as nested plain data: sections and fields by Bridge's names.

Every number is ours: a field is written here or follows from the stage, and none is left to a default of Bridge's
(tests/nemo/test_config.py compares). Data types are their names ("bfloat16"), enumerations and functions too. Section
`stages` contains what Bridge has no field for. Paths, ranks and processes of a machine are in no section.
"""

from __future__ import annotations

from typing import Any

from stages.contract import ledger, schedule
from stages.engines.nemo.config import services, training
from stages.engines.nemo.config.beyond import beyond
from stages.engines.nemo.config.model import language_model, model
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Parallel, computes_in_bf16
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Muon, Optimizer

Config = dict[str, dict[str, Any] | None]

OFF = (
    "ft",
    "straggler",
    "nvrx_straggler",
    "peft",
    "comm_overlap",
    "mixed_precision",
    "tensor_inspect",
    "inprocess_restart",
)


def config(stage: Stage, phase: Phase) -> Config:
    """The whole configuration of a stage's phase. Raises ValueError for a stage that is not the NeMo engine's."""
    execution, optimizer = stage.execution, stage.optimizer
    if execution.parallel is None or optimizer is None:
        raise ValueError(f"{stage.ref} is not trained by the NeMo engine")
    layout = execution.parallel
    return {
        "env_vars": environment(stage),
        "rng": {"seed": stage.seed, **services.RNG},
        "rerun_state_machine": dict(services.RERUN),
        "train": {**_train(phase, execution.dp), **training.TRAIN},
        "validation": {**_validation(phase, execution.dp), **training.VALIDATION},
        "model": model(stage, phase, layout),
        "optimizer": {**_optimizer(stage, phase, optimizer, layout), **training.OPTIMIZER},
        "scheduler": {**_scheduler(phase, optimizer), **training.SCHEDULER},
        "ddp": {"use_distributed_optimizer": layout.distributed_optimizer, **training.DDP},
        "dataset": dict(services.DATASET),
        "logger": dict(services.LOGGER),
        "tokenizer": {**_tokenizer(stage, layout), **services.TOKENIZER},
        "checkpoint": {
            "save_interval": execution.checkpoint_every, "most_recent_k": execution.keep_partials, **services.CHECKPOINT
        },
        "dist": {**_dist(stage), **services.DIST},
        "profiling": dict(services.PROFILING),
        **dict.fromkeys(OFF),
        "stages": beyond(stage, phase),
    }  # fmt: skip


def environment(stage: Stage) -> dict[str, str]:
    """What libraries read when they are loaded: on GPUs with `determinism: exact`, sums in one order."""
    if stage.execution.device != "cuda" or not stage.execution.exact:
        return {}
    return {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NCCL_ALGO": "Ring", "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0"}


def rows(phase: Phase, dp: int) -> int:
    """Sequences of the largest step, filled up with blank rows so that every replica has as many micro-batches."""
    most, each = max(step.sequences for step in phase.batch), phase.micro_batch * dp
    return -(-most // each) * each


def _train(phase: Phase, dp: int) -> dict[str, Any]:
    return {
        "micro_batch_size": phase.micro_batch,
        "global_batch_size": rows(phase, dp),
        "train_iters": ledger.count(phase),
    }


def _validation(phase: Phase, dp: int) -> dict[str, Any]:
    return {"eval_micro_batch_size": phase.micro_batch, "eval_global_batch_size": phase.micro_batch * dp}


def _optimizer(stage: Stage, phase: Phase, optimizer: Optimizer, layout: Parallel) -> dict[str, Any]:
    """`lr` is that of the phase's first step; the loop sets each step's own."""
    if stage.schedule is None:
        raise ValueError(f"{stage.ref} has no schedule")
    muon = optimizer if isinstance(optimizer, Muon) else None
    return {
        "lr": schedule.lr(stage.schedule, phase.clock_start + ledger.step_at(phase, 0).end),
        "weight_decay": optimizer.weight_decay,
        "adam_beta1": optimizer.beta1,
        "adam_beta2": optimizer.beta2,
        "adam_eps": optimizer.eps,
        "clip_grad": optimizer.clip if optimizer.clip is not None else 0.0,
        "bf16": computes_in_bf16(stage.engine_class),
        "use_distributed_optimizer": layout.distributed_optimizer,
        "muon_momentum": muon.momentum if muon is not None else 0.0,
        "muon_nesterov": muon.nesterov if muon is not None else False,
        "muon_num_ns_steps": muon.newton_schulz_steps if muon is not None else 5,
    }


def _scheduler(phase: Phase, optimizer: Optimizer) -> dict[str, Any]:
    return {
        "lr_decay_iters": ledger.count(phase),
        "start_weight_decay": optimizer.weight_decay,
        "end_weight_decay": optimizer.weight_decay,
    }


def _tokenizer(stage: Stage, layout: Parallel) -> dict[str, Any]:
    return {"vocab_size": language_model(stage).vocab, "tensor_model_parallel_size": layout.tp}


def _dist(stage: Stage) -> dict[str, Any]:
    gpu = stage.execution.device == "cuda"
    return {"distributed_backend": "nccl" if gpu else "gloo", "use_gloo_process_groups": gpu}
