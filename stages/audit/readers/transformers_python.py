"""Trainers that a script of Python sets up: TrainingArguments and TRL's configurations with arguments written out.

The script is read as a syntax tree (python_source.py). The model is what the Trainer is given, by name or by
from_pretrained; arguments that a parser of the command line makes are in no such call, and are no run here.
"""

from __future__ import annotations

import ast
import re

from stages.audit.readers import python_source
from stages.audit.readers.python_source import Call, Source
from stages.audit.readers.transformers import (
    FIGURES,
    LENGTHS,
    MARKS,
    MAX_KEYS,
    kwargs,
    misspelt,
    not_taken,
    preferences,
    settled,
)
from stages.audit.readers.transformers_sets import sets
from stages.audit.readers.tree import Leaf, Tree
from stages.audit.recipe import Stage, Value, numbered
from stages.errors import Where

CONFIGURATION = re.compile(
    r"\b(\w*TrainingArguments|(?:SFT|DPO|KTO|ORPO|CPO|GRPO|RLOO|PPO|Reward|PRM|BCO|GKD)Config)\("
)
_ANSWERS = re.compile(r"TrainingArguments$|^SFTConfig$")  # of the others, preferences or rewards are learned
_MODELS = re.compile(r"(Model\w*|Auto\w*LM|\w+For\w+)\.from_pretrained$")


def stages(text: str, name: str) -> list[Stage]:
    """A run for each configuration with three settings of a Trainer. Other text is not parsed. Raises Unreadable."""
    if not CONFIGURATION.search(text) or "import" not in text:
        return []
    source = python_source.parse(text, name)
    found: list[Stage] = []
    for call in source.calls:
        keys = {one.arg for one in call.node.keywords if one.arg}
        if not CONFIGURATION.fullmatch(_last(call.name) + "(") or len(keys & MARKS) < 3:
            continue
        kwarguments = _scheduler(source, call)
        values = _arguments(source, call) | _trainer(source, call) | kwargs(kwarguments)
        written = [(one.arg, Where(name, one.lineno)) for one in call.node.keywords if one.arg][:MAX_KEYS]
        slips = (*misspelt(written, FIGURES), *not_taken(kwarguments, values))
        found.append(Stage(name, "transformers", call.where, settled(values), slips=slips))
    return numbered(found)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _arguments(source: Source, call: Call) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for keyword in call.node.keywords:
        figure = (FIGURES | LENGTHS).get(keyword.arg or "")
        if figure is not None and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None):
            values[figure] = source.value(keyword.value, call.inside, keyword.arg or "")
    if call.node.args and "save" not in values:  # the first parameter of all of them
        values["save"] = source.value(call.node.args[0], call.inside, "output_dir")
    if not _ANSWERS.search(_last(call.name)):
        values["objective"] = preferences(call.where, call.name)
    return values


def _scheduler(source: Source, call: Call) -> Tree:
    """The arguments of the scheduler, where they are written as a dictionary."""
    given, tree = call.argument("lr_scheduler_kwargs"), Tree({}, {})
    written = None if given is None else source.written(given, call.inside)
    for key, value in zip(written.keys, written.values, strict=True) if isinstance(written, ast.Dict) else ():
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            read, path = source.value(value, call.inside, key.value), ("lr_scheduler_kwargs", key.value)
            tree.places[path] = read.where
            tree.leaves[path] = Leaf(None if read.value is None else str(read.value), read.where)
    return tree


def _trainer(source: Source, call: Call) -> dict[str, Value]:
    """What the one Trainer next to a configuration is given: the model, the data, an adapter; what it resumes."""
    here = [one for one in source.calls if one.inside == call.inside]
    trainers = [one for one in here if _last(one.name).endswith("Trainer") and _takes(source, one, call)]
    if len(trainers) != 1:
        return {}
    trainer, found = trainers[0], dict[str, Value]()
    model = trainer.argument("model") or next(iter(trainer.node.args), None)
    if model is not None and (named := _pretrained(source, model, trainer.inside)) is not None:
        found["pretrained"] = named
        found |= _attention(source, model, trainer.inside)
    found |= sets(source, trainer)
    adapter = trainer.argument("peft_config")
    if adapter is not None and not (isinstance(adapter, ast.Constant) and adapter.value is None):
        found["peft"] = Value(True, trainer.where, "peft_config")
    for one in here:
        resumed = one.argument("resume_from_checkpoint") if _last(one.name) == "train" else None
        if resumed is not None:
            found["resume"] = source.value(resumed, one.inside, "resume_from_checkpoint")
    return found


def _attention(source: Source, model: ast.expr, inside: str) -> dict[str, Value]:
    """The attention that is passed to from_pretrained."""
    written = source.written(model, inside)
    call = source.call(written)
    found = None if call is None else call.argument("attn_implementation")
    return {} if call is None or found is None else {"attention": source.value(found, inside, "attn_implementation")}


def _takes(source: Source, trainer: Call, call: Call) -> bool:
    """Whether a Trainer is given this configuration, in place or by a name."""
    given = trainer.argument("args") or next((one for one in trainer.node.args if isinstance(one, ast.Call)), None)
    return given is not None and source.written(given, trainer.inside) is call.node


def _pretrained(source: Source, model: ast.expr, inside: str) -> Value | None:
    """A model's name: written, or that of the from_pretrained that makes it."""
    written = source.written(model, inside)
    if isinstance(written, ast.Call):
        made = source.call(written)
        if made is None or not _MODELS.search(made.name) or not written.args:
            return None
        model = written.args[0]
    value = source.value(model, inside, "model")
    return value if isinstance(value.value, str) else None
