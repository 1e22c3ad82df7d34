"""torchtune's YAML, `tune run full_finetune --config a.yaml`: components by name, with their arguments.

The meaning of each key: pytorch/torchtune bd2a0fc7c, recipes/full_finetune_distributed.py and recipes/configs.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.readers.tables import betas, picked, run
from stages.audit.readers.tree import Tree, followed
from stages.audit.recipe import Stage

FIGURES = {
    "micro_batch": ("batch_size",), "accumulation": ("gradient_accumulation_steps",), "epochs": ("epochs",),
    "lr": ("optimizer.lr",), "weight_decay": ("optimizer.weight_decay",), "eps": ("optimizer.eps",),
    "warmup_steps": ("lr_scheduler.num_warmup_steps",), "clip": ("clip_grad_norm",),
    "in_backward": ("optimizer_in_bwd",), "context": ("tokenizer.max_seq_len",), "packing": ("dataset.packed",),
    "pretrained": ("checkpointer.checkpoint_dir",), "save": ("checkpointer.output_dir", "output_dir"),
    "tokenizer": ("tokenizer.path",), "precision": ("dtype",), "seed": ("seed",),
    "checkpointed": ("enable_activation_checkpointing",), "offloaded": ("enable_activation_offloading",),
}  # fmt: skip
_STYLES = {"get_cosine_schedule_with_warmup": "cosine"}
_OTHERS = frozenset({"batch_size_val", "max_steps_per_epoch"})


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a recipe that trains: components of a model, an optimizer and a checkpointer."""
    parts = [(one, "_component_") for one in ("model", "optimizer", "checkpointer")]
    if not set(parts) <= set(tree.places):
        return []
    tree = followed(tree)
    found = picked(tree, FIGURES) | betas(tree, ("optimizer", "betas"))
    model, style = tree.value(("model", "_component_")), tree.value(("lr_scheduler", "_component_"))
    if model is not None and model.value is not None:
        plain = str(model.value).rpartition(".")[2].removeprefix("q").removeprefix("lora_")
        found["flavor"] = replace(model, value=plain)
    if style is not None:
        found["decay"] = replace(style, value=_STYLES.get(str(style.value).rpartition(".")[2]))
    if (read := tree.value(("dataset", "_component_"))) is not None and read.value is not None:
        learned = (
            "pt" if "text_completion" in str(read.value) else "preferences" if "prefer" in str(read.value) else "sft"
        )
        found["objective"] = replace(read, value=learned, derived=True)
        source = tree.value(("dataset", "source")) or read
        found["data"] = replace(source, value=(str(source.value),))
    return run(tree, name, "torchtune", found, FIGURES, _OTHERS)
