"""What each framework takes from the checkpoint that a recipe names, by the switches that it has; each with its source.

Read in the frameworks' own code, at the commits that `ROWS` names. Another version may do otherwise: the page
docs/audit.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stages.audit.frameworks import TRAINERS
from stages.audit.recipe import Stage

Scheduler = Literal["file", "asserted", "override", "checkpoint", "peak"]  # docs/audit.md says what each means


@dataclass(frozen=True)
class Loads:
    """What a launch takes from the checkpoint that it names; `when` says by which switch."""

    when: str
    optimizer: bool
    scheduler: Scheduler
    step: bool
    data: bool


@dataclass(frozen=True)
class Row:
    """A case of some frameworks: what the file has to say, and where it was read. Weights always come."""

    frameworks: tuple[str, ...]
    case: Callable[[Stage], bool]
    loads: Loads
    source: str


def _load(*on: str) -> Callable[[Stage], bool]:
    return lambda stage: "load" in stage.values and all(stage.on(one) for one in on)


def _off(*names: str) -> Callable[[Stage], bool]:
    return lambda stage: "load" in stage.values and all(stage.get(one) is False for one in names)


def _pretrained(stage: Stage) -> bool:
    return "pretrained" in stage.values


def _from_checkpoint(stage: Stage) -> bool:
    """Both flags are refused (flags-contradict): then neither counts."""
    return _load("scheduler_from_checkpoint")(stage) and not stage.on("override_scheduler")


_MEGATRON = ("megatron-lm", "megatron-bridge")
_IN_MEGATRON = "Megatron-LM d98e8a64ddf3 (2026-08) and LLM360's fork 871c086db94d (2025-12), training/checkpointing.py"
_PARAMETERS = "the same, and core/optimizer_param_scheduler.py"
_IN_TRAINER = "transformers 4.57, trainer.py: _load_optimizer_and_scheduler; torch's LambdaLR has the peak in its state"
_IN_OLMO = "OLMo-core fa6c5014c9f6 (2026-06), train/checkpoint.py; optim/config.py sets initial_lr again after a load"
_IN_NANOTRON = "nanotron 004a89cae, trainer.py; lr_scheduler is torch's LambdaLR"
_IN_OLMO_YAML = "allenai/OLMo 59a53e3f (2025-09), olmo/train.py: load_trainer_state_dict sets the rate to the file's"
_IN_FOUNDRY = (
    "mosaicml/composer 640518880 (2026-04), core/state.py: schedulers are LambdaLR, whose peak is in their state"
)
_IN_LEVANTER = (
    "marin-community/levanter 9263f81e (2025-09), trainer.py and main/train_lm.py; optax has no rate in its state"
)
_IN_TUNE = "pytorch/torchtune bd2a0fc7c (2026-04), recipes/full_finetune_distributed.py"
_IN_TITAN = "torchtitan b5bcd76c (2026-08), components/checkpointer; the scheduler restores its step alone"
ROWS = (
    Row(_MEGATRON, _load("finetune"), Loads("--load, --finetune", False, "file", step=False, data=False), _IN_MEGATRON),
    Row(_MEGATRON, _load("no_load_optim"), Loads("--load, --no-load-optim", False, "file", step=True, data=True),
        _IN_MEGATRON),
    Row(_MEGATRON, _from_checkpoint,
        Loads("--load, --use-checkpoint-opt_param-scheduler", True, "checkpoint", step=True, data=True), _PARAMETERS),
    Row(_MEGATRON, _load("override_scheduler"),
        Loads("--load, --override-opt_param-scheduler", True, "override", step=True, data=True), _PARAMETERS),
    Row(_MEGATRON, _load(), Loads("--load", True, "asserted", step=True, data=True), _PARAMETERS),
    Row(_MEGATRON, _pretrained, Loads("--pretrained-checkpoint", False, "file", step=False, data=False), _IN_MEGATRON),
    Row(TRAINERS, _load("ignore_data_skip"),
        Loads("resume_from_checkpoint, ignore_data_skip", True, "peak", step=True, data=False), _IN_TRAINER),
    Row(TRAINERS, _load(), Loads("resume_from_checkpoint", True, "peak", step=True, data=True), _IN_TRAINER),
    Row(TRAINERS, _pretrained, Loads("the model's path alone", False, "file", step=False, data=False), _IN_TRAINER),
    Row(("olmo-core",), _off("load_trainer_state", "load_optim_state"),
        Loads("load_path, without both states", False, "file", step=False, data=False), _IN_OLMO),
    Row(("olmo-core",), _off("load_trainer_state"),
        Loads("load_path, load_trainer_state=False", True, "file", step=False, data=False), _IN_OLMO),
    Row(("olmo-core",), _off("load_optim_state"),
        Loads("load_path, load_optim_state=False", False, "override", step=True, data=True), _IN_OLMO),
    Row(("olmo-core",), _load(), Loads("load_path", True, "override", step=True, data=True), _IN_OLMO),
    Row(("nanotron",), _off("load_lr_scheduler", "load_optimizer"),
        Loads("resume_checkpoint_path, without both states", False, "file", step=False, data=False), _IN_NANOTRON),
    Row(("nanotron",), _off("load_lr_scheduler"),
        Loads("resume_checkpoint_path, load_lr_scheduler: false", True, "file", step=False, data=False), _IN_NANOTRON),
    Row(("nanotron",), _off("load_optimizer"),
        Loads("resume_checkpoint_path, load_optimizer: false", False, "peak", step=True, data=True), _IN_NANOTRON),
    Row(("nanotron",), _load(), Loads("resume_checkpoint_path", True, "peak", step=True, data=True), _IN_NANOTRON),
    Row(("torchtitan",), _off("load_model_only"),
        Loads("initial_load_path, initial_load_model_only = false", True, "override", step=True, data=True), _IN_TITAN),
    Row(("olmo",), _load("reset_optimizer", "reset_trainer"),
        Loads("load_path, reset_optimizer_state, reset_trainer_state", False, "file", step=False, data=False),
        _IN_OLMO_YAML),
    Row(("olmo",), lambda stage: _load("reset_trainer")(stage) or _off("restore_dataloader")(stage),
        Loads("load_path, reset_trainer_state or restore_dataloader: false", True, "file", step=False, data=False),
        _IN_OLMO_YAML),
    Row(("olmo",), _load("reset_optimizer"),
        Loads("load_path, reset_optimizer_state", False, "override", step=True, data=True), _IN_OLMO_YAML),
    Row(("olmo",), _load(), Loads("load_path", True, "override", step=True, data=True), _IN_OLMO_YAML),
    Row(("llm-foundry",), _load("weights_only"),
        Loads("load_path, load_weights_only", False, "file", step=False, data=False), _IN_FOUNDRY),
    Row(("llm-foundry",), lambda stage: _load()(stage) and "load_ignored" not in stage.values,
        Loads("load_path", True, "peak", step=True, data=True), _IN_FOUNDRY),
    Row(("llm-foundry",), _pretrained, Loads("pretrained_model_name_or_path", False, "file", step=False, data=False),
        _IN_FOUNDRY),
    Row(("levanter",), _load(), Loads("initialize_from and others", True, "override", step=True, data=True),
        _IN_LEVANTER),
    Row(("levanter",), _pretrained, Loads("initialize_from_hf", False, "file", step=False, data=False), _IN_LEVANTER),
    Row(("torchtune",), _pretrained, Loads("checkpoint_dir", False, "file", step=False, data=False), _IN_TUNE),
    Row(("torchtitan",), _load(), Loads("initial_load_path", False, "file", step=False, data=False), _IN_TITAN),
)  # fmt: skip


def goes_on_by_itself(stage: Stage) -> bool:
    """Whether what it loads is what it saves itself: nothing at its first launch, unless the user names a parent."""
    load, save = stage.folder("load"), stage.folder("save")
    return bool(save) and (load + "/").startswith(save + "/") and "from" not in stage.values


def on_load(stage: Stage) -> Loads | None:
    """What this launch restores; None where it loads nothing at first, or where it is not known here how."""
    if goes_on_by_itself(stage) and not _pretrained(stage):
        return None
    mine = [row for row in ROWS if stage.framework in row.frameworks]
    if goes_on_by_itself(stage):
        mine = [row for row in mine if row.case is _pretrained]
    return next((row.loads for row in mine if row.case(stage)), None)
