"""From plain data to Megatron-Bridge's own objects: names of data types, enumerations and functions are looked up."""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass
from typing import Any

import torch
from megatron.bridge.data.base import DatasetProvider
from megatron.bridge.models.gpt_provider import GPTModelProvider
from megatron.bridge.models.mla_provider import MLAModelProvider
from megatron.bridge.training import config as bridge
from megatron.bridge.training.config import ConfigContainer
from megatron.bridge.training.tokenizers.config import TokenizerConfig
from megatron.core.transformer.enums import AttnBackend, InferenceCudaGraphScope
from torch.nn import functional

from stages.engines.nemo.config import OFF, Config

SECTIONS: dict[str, Any] = {
    "rng": bridge.RNGConfig,
    "rerun_state_machine": bridge.RerunStateMachineConfig,
    "train": bridge.TrainingConfig,
    "validation": bridge.ValidationConfig,
    "optimizer": bridge.OptimizerConfig,
    "scheduler": bridge.SchedulerConfig,
    "ddp": bridge.DistributedDataParallelConfig,
    "logger": bridge.LoggerConfig,
    "tokenizer": TokenizerConfig,
    "checkpoint": bridge.CheckpointConfig,
    "dist": bridge.DistributedInitConfig,
    "profiling": bridge.ProfilingConfig,
}
FLOATS = ("float32", "bfloat16")
FUNCTIONS = {"silu": functional.silu}
TUPLES = frozenset({"param_name_patterns_for_fp32_local_accumulation"})


@dataclass
class Rows(DatasetProvider):
    """The place of a dataset in the container: rows come from the project's own loader, by the loop."""

    def build_datasets(self, context: Any) -> tuple[None, None, None]:
        """No dataset of Bridge's."""
        return None, None, None


def classes(config: Config) -> dict[str, Any]:
    """Bridge's class of each section that is not off."""
    model = config["model"]
    latent = model is not None and model["multi_latent_attention"]
    return {**SECTIONS, "model": MLAModelProvider if latent else GPTModelProvider, "dataset": Rows}


def container(config: Config) -> ConfigContainer:
    """The whole configuration. Raises ValueError for a field that Bridge does not know."""
    made = {name: section(of, config[name] or {}) for name, of in classes(config).items()}
    return ConfigContainer(env_vars=config["env_vars"], **made, **dict.fromkeys(OFF))


def section(of: Any, fields: dict[str, Any]) -> Any:
    """One section as an object of Bridge's class."""
    known = {field.name for field in dataclasses.fields(of) if field.init}
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"{of.__name__} of this Megatron-Bridge does not know {', '.join(unknown)}")
    return of(**{name: value(name, one) for name, one in fields.items()})


def value(name: str, plain: Any) -> Any:
    """A field's value: what plain data can only name."""
    match name:
        case "attention_backend":
            return AttnBackend[plain]
        case "inference_cuda_graph_scope":
            return InferenceCudaGraphScope[plain]
        case "exit_signal":
            return signal.Signals[plain]
        case "activation_func":
            return FUNCTIONS[plain]
        case _ if name.endswith("_dtype") and plain in FLOATS:
            return getattr(torch, plain)
        case _ if name in TUPLES:
            return tuple(plain)
        case _:
            return plain
