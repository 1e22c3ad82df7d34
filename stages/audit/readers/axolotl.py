"""axolotl's YAML: the Trainer's arguments under names of its own, and the model's configuration beside them.

The keys: axolotl-ai-cloud/axolotl 067b021, src/axolotl/utils/schemas/config.py and training.py.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.readers import transformers
from stages.audit.readers.tables import picked, slips
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage

FIGURES = {figure: (key,) for key, figure in transformers.AXOLOTL.items()}
_MODEL = {
    "rope_base": ("overrides_of_model_config.rope_theta", "model_config.rope_theta"),
    "max_positions": ("overrides_of_model_config.max_position_embeddings", "model_config.max_position_embeddings"),
}
_MARKS = frozenset({"micro_batch_size", "num_epochs", "max_steps", "learning_rate", "sequence_len"})
_OTHERS = frozenset({"eval_steps", "save_steps", "eval_batch_size", "optim_args", "adam_epsilon2", "warmup_steps"})


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a file of axolotl."""
    keys = {str(path[0]) for path in tree.places if path}
    if "base_model" not in keys or len(keys & _MARKS) < 2:
        return []
    read = transformers.from_tree(tree, name, "axolotl", transformers.AXOLOTL)
    values = {**read.values, **picked(tree, _MODEL)}
    return [replace(read, values=values, slips=tuple(slips(tree, FIGURES, _OTHERS)))]
