"""DeepSpeed's own file, which a Trainer's arguments name: figures that the Trainer states too, or fills in (`auto`).

transformers 4.57.6, integrations/deepspeed.py, HfTrainerDeepSpeedConfig: what is not `auto` has to be the Trainer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from stages.audit.frameworks import TRAINERS
from stages.audit.readers import text, tree
from stages.audit.readers.tables import betas, picked
from stages.audit.readers.text import Source
from stages.audit.recipe import Stage, Value

PREFIX = "deepspeed_"
FIGURES = {
    "micro_batch": ("train_micro_batch_size_per_gpu",), "accumulation": ("gradient_accumulation_steps",),
    "batch": ("train_batch_size",), "clip": ("gradient_clipping",), "lr": ("optimizer.params.lr",),
    "eps": ("optimizer.params.eps",), "weight_decay": ("optimizer.params.weight_decay",),
    "peak": ("scheduler.params.warmup_max_lr",), "warmup_steps": ("scheduler.params.warmup_num_steps",),
    "steps": ("scheduler.params.total_num_steps",),
    "fp16": ("fp16.enabled",), "bf16": ("bf16.enabled",),
}  # fmt: skip


def named(stages: Iterable[Stage], sources: Sequence[Source]) -> list[Stage]:
    """The runs, those whose file is here with what it says, under names that begin with PREFIX. Raises Unreadable."""
    return [replace(one, values={**one.values, **_file_values(one, sources)}) for one in stages]


def _file_values(stage: Stage, sources: Sequence[Source]) -> dict[str, Value]:
    path = stage.text("deepspeed") if stage.framework in TRAINERS else None
    if path is None or not path.endswith(".json"):
        return {}
    parts = PurePosixPath(path.removeprefix("./")).parts
    found = [one for one in sources if _same(PurePosixPath(one.name).parts, parts)]
    if len(found) != 1:
        return {}
    parsed = tree.parse(text.text(found[0].path, found[0].name), found[0].name)
    values = picked(parsed, FIGURES) | betas(parsed, ("optimizer", "params", "betas"))
    return {PREFIX + name: value for name, value in values.items() if value.value not in {None, "auto"}}


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two paths are one: the shorter is the end of the longer."""
    size = min(len(one), len(other))
    return size > 0 and one[-size:] == other[-size:]
