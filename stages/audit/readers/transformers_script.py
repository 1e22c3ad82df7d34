"""Hugging Face's TrainingArguments as flags in a shell script; mixtures as `folder@share` (ProLong)."""

from __future__ import annotations

import re

from stages.audit.frameworks import settings
from stages.audit.readers import arguments
from stages.audit.readers.arguments import Argument
from stages.audit.readers.changes import Change, changed
from stages.audit.readers.launches import changes
from stages.audit.readers.transformers import (
    FACTORY_MARKS,
    FIGURES,
    LENGTHS,
    MARKS,
    MAX_KEYS,
    PREFERENCES,
    PROGRAMS,
    factory,
    kwargs,
    misspelt,
    not_taken,
    preferences,
    settled,
)
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Stage, Value, counted, number, numbered
from stages.audit.shell.commands import PRINTS
from stages.audit.shell.reader import Script
from stages.audit.shell.words import Word, place, text
from stages.errors import Where

_OVERRIDE = re.compile(r"(rope_theta|max_position_embeddings|vocab_size)=([\d._eE+]+)")
_FLAGS = {f"--{key}": figure for key, figure in FIGURES.items()}
_DATA = {"train_file": "data", "dataset_name": "data", "validation_file": "eval_data"}
_CONFIG = {"rope_theta": "rope_base", "max_position_embeddings": "max_positions", "vocab_size": "vocab"}


def stages(script: Script, name: str) -> list[Stage]:
    """The runs of a Trainer that a script starts, LLaMA-Factory's by their own settings."""
    found: list[Stage] = []
    for command in script.commands:
        words = arguments.flat(command)
        given = {text(word).lstrip("-").split("=")[0].replace("-", "_") for word in words if text(word)[:2] == "--"}
        if len(given & MARKS) < 3 or text(words[0]) in PRINTS:
            continue
        if given & FACTORY_MARKS:
            found += factory(changed(Tree({}, {(): command.where}), list(changes(words, command.where))), name)
            continue
        launcher, own = arguments.split(words, command.where)
        values, kwarguments = _world(launcher) | _learned(words, command.where), Tree({}, {})
        for one in own:
            values |= _figures(one)
            if one.flag == "--lr_scheduler_kwargs" and one.words:
                kwarguments = changed(kwarguments, [Change(("lr_scheduler_kwargs",), *one.words[0])])
        values |= kwargs(kwarguments)
        if (program := next((word for word in words if text(word).rpartition("/")[2] == "swift"), None)) is not None:
            values["partial"] = Value(True, place(program, command.where), "swift, whose defaults are its own")
        keys = [(one.flag.lstrip("-").replace("-", "_"), one.where) for one in own[:MAX_KEYS]]
        known = frozenset(f"--{key}" for key in settings("transformers.txt"))
        slips = (
            *misspelt(keys, FIGURES),
            *not_taken(kwarguments, values),
            *arguments.slips_of(script, command.where.file, own, _FLAGS, known),
        )
        found.append(Stage(name, "transformers", command.where, settled(values), slips=slips))
    return numbered(found)


def _world(launcher: list[Argument]) -> dict[str, Value]:
    """Processes that accelerate, torchrun or deepspeed starts, where the line has their number."""
    given = {one.flag: arguments.value(one, "world") for one in launcher}
    if "--num_processes" in given:
        return {"world": given["--num_processes"]}
    devices = next((given[one] for one in ("--nproc_per_node", "--nproc-per-node", "--num_gpus") if one in given), None)
    nodes = next((given[one] for one in ("--nnodes", "--num_nodes") if one in given), None)
    sizes = [1 if nodes is None else nodes.value, None if devices is None else devices.value]
    world = counted(size if isinstance(size, int) else None for size in sizes)
    return {} if world is None or devices is None else {"world": Value(world, devices.where, devices.key)}


def _learned(words: list[Word], where: Where) -> dict[str, Value]:
    """What TRL's programs learn that are no fine-tuning on answers: `trl dpo`, `trl/scripts/dpo.py`."""
    for before, word in zip(["", *map(text, words)], words, strict=False):
        program = text(word).rpartition("/")[2]
        if program.removesuffix(".py") in PROGRAMS and (program.endswith(".py") or before == "trl"):
            return {"objective": preferences(place(word, where), program)}
    return {}


def _figures(argument: Argument) -> dict[str, Value]:
    """What a flag says; a list of paths `folder@share` is a mixture (ProLong)."""
    key, values = argument.flag.lstrip("-").replace("-", "_"), dict[str, Value]()
    if key in PREFERENCES:
        values["objective"] = preferences(argument.where, argument.flag)
    if key in LENGTHS and argument.words:
        values[LENGTHS[key]] = arguments.value(argument, LENGTHS[key])
    if key in FIGURES and argument.words:
        values[FIGURES[key]] = arguments.value(argument, FIGURES[key])
    elif key in FIGURES:
        values[FIGURES[key]] = Value(True, argument.where, argument.flag)
    for word, where in argument.words if key == "config_overrides" else ():
        for part, figure in _OVERRIDE.findall(word):
            values[_CONFIG[part]] = Value(number(figure), where, part)
    if key in _DATA and argument.words:
        values[_DATA[key]] = Value(tuple(word for word, _ in argument.words), argument.words[0][1], argument.flag)
    shares = [word.rsplit("@", 1) for word, _ in argument.words if re.search(r"@[\d.]+$", word)]
    if len(shares) > 1:
        sums = tuple(float(share) for _, share in shares)
        values["data_weights"] = Value(sums, argument.words[0][1], argument.flag)
        values["data"] = Value(tuple(path for path, _ in shares), argument.words[0][1], argument.flag)
    return values
