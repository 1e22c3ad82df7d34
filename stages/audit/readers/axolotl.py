"""axolotl's YAML: the Trainer's arguments under names of its own, and the model's configuration next to them.

The keys: axolotl-ai-cloud/axolotl 067b021, src/axolotl/utils/schemas/config.py and training.py.
"""

from __future__ import annotations

from dataclasses import replace

from stages.audit.readers import transformers
from stages.audit.readers.tables import picked, slips
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, Value

FIGURES = {figure: (key,) for key, figure in transformers.AXOLOTL.items()}
_MODEL = {
    "architecture": ("model_type",),
    "rope_base": ("overrides_of_model_config.rope_theta", "model_config.rope_theta"),
    "max_positions": ("overrides_of_model_config.max_position_embeddings", "model_config.max_position_embeddings"),
}
_MARKS = frozenset({"micro_batch_size", "num_epochs", "max_steps", "learning_rate", "sequence_len"})
_OTHERS = frozenset({"eval_steps", "save_steps", "eval_batch_size", "optim_args", "adam_epsilon2", "warmup_steps"})


def _objective(tree: Tree, read: Stage) -> Value:
    """What is learned: preferences or rewards (`rl`), text as it is, else answers."""
    if (learned := tree.value(("rl",))) is not None:
        return learned
    plain = [tree.value((*path, "type")) for path in (("datasets", 0), ("pretraining_dataset", 0))]
    text = "pretraining_dataset" in tree.below(()) or any(
        one is not None and one.value == "completion" for one in plain
    )
    return Value("pt" if text else "sft", read.where, "datasets", derived=True)


def _sets(tree: Tree) -> dict[str, Value]:
    """The data sets, each with what divides it from others of its path."""
    found: dict[str, Value] = {}
    if "pretraining_dataset" in tree.below(()):
        found["streaming"] = Value(True, tree.places["pretraining_dataset",], "pretraining_dataset")
    for figure, key in (("data", "datasets"), ("data", "pretraining_dataset"), ("eval_data", "test_datasets")):
        sets: list[str] = []
        while (key, len(sets)) in tree.places:
            parts = [tree.value((key, len(sets), one)) for one in ("path", "name", "data_files", "split")]
            sets.append(" ".join(str(one.value) for one in parts if one is not None))
        if sets:
            found[figure] = Value(tuple(sets), tree.places[key,], key)
    return found


def stages(tree: Tree, name: str) -> list[Stage]:
    """The run of a file of axolotl."""
    keys = {str(path[0]) for path in tree.places if path}
    if "base_model" not in keys or len(keys & _MARKS) < 2:
        return []
    read = transformers.from_tree(tree, name, "axolotl", transformers.AXOLOTL)
    values = {**read.values, **picked(tree, _MODEL), **_sets(tree)}
    values["objective"] = _objective(tree, read)
    return [replace(read, values=values, slips=tuple(slips(tree, FIGURES, _OTHERS)))]
