"""torchtitan: TOML (until April 2026), and functions of a module that return a Trainer.Config (since), as text.

Keys and defaults: pytorch/torchtitan b5bcd76c, torchtitan/config/configs.py and components/optimizer/lr_scheduler.py,
and torchtitan/config/job_config.py at 4a950eaa for TOML.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from stages.audit.readers import python_source
from stages.audit.readers.changes import Change, changed
from stages.audit.readers.python_source import Source, assignments
from stages.audit.readers.tables import count, picked, slips, with_micro_batch
from stages.audit.readers.text import refuse
from stages.audit.readers.tree import Leaf, Path, Tree
from stages.audit.recipe import LONGEST, Slip, Stage, Value, is_number
from stages.errors import Where
from stages.printable import printable

FIGURES = {
    "steps": ("training.steps",), "context": ("training.seq_len", "training.max_context_length"),
    "micro_batch": ("training.batch_size", "training.local_batch_size"), "batch": ("training.global_batch_size",),
    "batch_tokens": ("training.num_tokens_per_train_step",),
    "micro_tokens": ("training.num_tokens_per_microbatch_per_dp_rank",),
    "clip": ("training.max_norm",), "lr": ("optimizer.lr",), "eps": ("optimizer.eps",),
    "weight_decay": ("optimizer.weight_decay",), "beta1": ("optimizer.beta1",), "beta2": ("optimizer.beta2",),
    "warmup_steps": ("training.warmup_steps", "lr_scheduler.warmup_steps"),
    "decay_steps": ("lr_scheduler.total_steps",), "decay_share": ("lr_scheduler.decay_ratio",),
    "decay": ("lr_scheduler.decay_type",),
    "min_lr_ratio": ("lr_scheduler.lr_min", "lr_scheduler.min_lr_factor"),
    "tp": ("parallelism.tensor_parallel_degree",), "pp": ("parallelism.pipeline_parallel_degree",),
    "cp": ("parallelism.context_parallel_degree",), "ep": ("parallelism.expert_parallel_degree",),
    "flavor": ("model.flavor",), "architecture": ("model.name",),
    "keep": ("checkpoint.keep_latest_k",),
    "tokenizer": ("model.tokenizer_path", "model.hf_assets_path", "hf_assets_path"),
    "train_set": ("training.dataset",), "eval_set": ("validation.dataset",), "seed": ("training.seed", "debug.seed"),
    "last_model_only": ("checkpoint.last_save_model_only",),
    "folder": ("checkpoint.folder",), "save_every": ("checkpoint.interval",),
    "load": ("checkpoint.initial_load_path",), "load_model_only": ("checkpoint.initial_load_model_only",),
    "checkpoints": ("checkpoint.enable_checkpoint", "checkpoint.enable"), "dump": ("job.dump_folder", "dump_folder"),
    "eval_every": ("validation.freq", "validator.freq"), "evaluates": ("validation.enable",),
}  # fmt: skip
MARK = "Trainer.Config("  # in the text of every module of configurations
_SECTION = re.compile(r"\s*\[\s*([\w.\-\s]+?)\s*\]")
_KEY = re.compile(r"\s*([\w\-]+)\s*=")
_MISSING = {"batch", "batch_tokens"}  # -1: what follows from the machines


def toml(text: str, file: str) -> Tree:
    """A TOML file as leaves with lines. Raises Unreadable."""
    try:
        read = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        where = Where(file, int(line[1]) if line else 1)
        raise refuse(where, f"what is not TOML ({printable(str(error))[:80]})", "TOML", "Correct the syntax.") from None
    lines = _lines(text)
    tree = Tree({}, {})
    for section, keys in read.items():
        if isinstance(keys, dict):
            tree.places[section,] = Where(file, lines.get((section,), 1))
            for key, value in keys.items():
                path: Path = (section, key)
                where = Where(file, lines.get(path, lines.get((section,), 1)))
                tree.places[path] = where
                if isinstance(value, bool | int | float | str):
                    tree.leaves[path] = Leaf(printable(str(value))[: LONGEST * 8], where, isinstance(value, str))
    return tree


def _lines(text: str) -> dict[Path, int]:
    """The line of every section and key; of the first one inside a text of several lines, which a key rarely is."""
    found: dict[Path, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if head := _SECTION.match(line):
            section = head[1]
            found.setdefault((section,), number)
        elif key := _KEY.match(line):
            found.setdefault((section, key[1]), number)
    return found


def toml_stages(text: str, name: str, changes: Sequence[Change] = ()) -> list[Stage]:
    """The run of a TOML file, as it is launched. Text without [training] is not parsed. Raises Unreadable."""
    if "[training]" not in text:
        return []
    tree = changed(toml(text, name), changes)
    if len({("optimizer",), ("model",), ("job",)} & set(tree.places)) < 2:
        return []
    found = picked(tree, FIGURES)
    return [_settled(name, found, tree.places["training",], tuple(slips(tree, FIGURES)))]


def _settled(name: str, found: dict[str, Value], where: Where, slips: tuple[Slip, ...] = ()) -> Stage:
    """The figures that all frameworks share, of torchtitan's. Checkpoints are off where nothing turns them on."""
    on, folder, dump = found.pop("checkpoints", None), found.pop("folder", None), found.pop("dump", None)
    if on is None or on.value is False:
        found.pop("save_every", None)
        if (path := found.pop("load", None)) is not None:
            found["load_off"] = path
    elif folder is not None:
        base = str(dump.value).rstrip("/") if dump is not None and dump.value else "./outputs"
        found["save"] = replace(folder, value=f"{base}/{folder.value}")
    evaluates = found.pop("evaluates", None)
    if evaluates is not None and evaluates.value is False:
        found.pop("eval_every", None)
        found.pop("eval_set", None)
    for figure, key in (("data", "train_set"), ("eval_data", "eval_set")):
        if (named := found.pop(key, None)) is not None and isinstance(named.value, str):
            found[figure] = replace(named, value=(named.value,))
    for figure in _MISSING & set(found):
        if found[figure].value == -1:
            del found[figure]
    _schedule(found)
    with_micro_batch(found)
    return Stage(name, "torchtitan", where, found, slips=slips)


def _schedule(found: dict[str, Value]) -> None:
    """A share of the steps for the decay is a warm-up, stable, decay schedule; without one it follows the warm-up."""
    share, decay = found.pop("decay_share", None), found.get("decay")
    shape = {"sqrt": "other"}.get(str(decay.value), str(decay.value)) if decay is not None else "linear"
    if decay is not None:
        found["decay"] = replace(decay, value=shape)
    if share is None or not is_number(share.value):
        return
    found["decay"] = Value("wsd", share.where, share.key)
    found["wsd_decay"] = Value(shape, (decay or share).where, (decay or share).key)
    if (length := count(found, "decay_steps" if "decay_steps" in found else "steps")) is not None:
        found["wsd_steps"] = Value(round(length * share.value), share.where, share.key)


def python_stages(text: str, name: str, launched: Mapping[str, Sequence[Change]]) -> list[Stage]:
    """One run for each function that returns a Trainer.Config, or changes what another one returns; as it is launched.

    Text without such a configuration is not parsed. Raises Unreadable.
    """
    if MARK not in text:
        return []
    source = python_source.parse(text, name)
    known: dict[str, dict[str, Value]] = {}
    found: list[Stage] = []
    for function in source.functions.values():
        values = _returned(source, function) or _changed(source, function, known)
        if values is None:
            continue
        known[function.name] = values
        values = values | picked(changed(Tree({}, {}), launched.get(function.name, ())), FIGURES)
        found.append(_settled(f"{name}:{function.name}", dict(values), Where(source.file, function.lineno)))
    return found


def _returned(source: Source, function: ast.FunctionDef) -> dict[str, Value] | None:
    call = next((one for one in source.named("Trainer.Config") if one.inside == function.name), None)
    if call is None:
        return None
    values: dict[str, Value] = {}
    for keyword in call.node.keywords:
        if isinstance(keyword.value, ast.Call) and keyword.arg is not None:
            for inner in keyword.value.keywords:
                _put(source, values, f"{keyword.arg}.{inner.arg}", inner.value, function.name)
        elif keyword.arg is not None:
            _put(source, values, keyword.arg, keyword.value, function.name)
    _overridden(source, function, values)
    return values


def _changed(source: Source, function: ast.FunctionDef, known: dict[str, dict[str, Value]]) -> dict[str, Value] | None:
    """A function that begins with what another function of the module returns."""
    first = next((one for one in source.calls if one.inside == function.name and one.name in known), None)
    if first is None:
        return None
    values = dict(known[first.name])
    _overridden(source, function, values)
    return values


def _overridden(source: Source, function: ast.FunctionDef, values: dict[str, Value]) -> None:
    for path, node, line in assignments(function):
        dotted = ".".join(path[1:])
        figure = _FIGURE_OF.get(dotted)
        if node is not None:
            _put(source, values, dotted, node, function.name)
        elif figure is not None:
            values[figure] = Value(None, Where(source.file, line), dotted, "assigned under a condition")


def _put(source: Source, values: dict[str, Value], dotted: str, node: ast.expr, inside: str) -> None:
    figure = _FIGURE_OF.get(dotted)
    if figure is not None:
        value = source.value(node, inside, dotted)
        if value.value is None and value.unknown is None:
            values.pop(figure, None)  # None: the default
        else:
            values[figure] = value


_FIGURE_OF = {dotted: figure for figure, paths in FIGURES.items() for dotted in paths}
