"""Which reader reads a file: by its suffix, and for YAML and JSON by the keys in it.

A reader of trees takes a parsed file and its name, and gives the runs that it describes: none where the file is of
another format. The first reader that gives one counts. A reader of text takes a file's text in the same way. Scripts
are read first: a launch line in one of them changes the file that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from stages.audit.readers import (
    axolotl,
    bridge,
    foundry,
    levanter,
    megatron_flags,
    nanotron,
    olmo,
    olmo_yaml,
    text,
    torchtitan,
    torchtune,
    transformers,
    transformers_python,
    tree,
)
from stages.audit.readers.changes import Change, Launch, changed
from stages.audit.readers.conversions import Conversion, merges
from stages.audit.readers.text import Source
from stages.audit.readers.tree import Tree
from stages.audit.recipe import Slip, Stage, numbered
from stages.errors import UserError

SCRIPTS = frozenset({".sh", ".bash", ".sbatch", ".slurm"})
_YAML = (
    nanotron.stages, megatron_flags.stages, bridge.stages, foundry.stages, olmo_yaml.stages, levanter.stages,
    torchtune.stages, axolotl.stages, transformers.factory, transformers.arguments_file,
)  # fmt: skip
TREES: dict[str, tuple[Callable[[Tree, str], list[Stage]], ...]] = {
    ".yaml": _YAML,
    ".yml": _YAML,
    ".json": (transformers.factory, transformers.arguments_file),
}
MOST = 8  # launches of one file: each is read
_KEYS = {  # what a file of a suffix has where it is a recipe, in words
    ".py": "no TrainerConfig of OLMo-core, no Trainer.Config of torchtitan, no TrainingArguments written out",
    ".toml": "no [training] beside [optimizer], [model] or [job]",
    **dict.fromkeys((".yaml", ".yml", ".json"), "keys of none of the formats"),
}


_LOGS = {  # what a training writes, by a key at the top
    "log_history": "the Trainer's log of a run, not its settings",
    "_runtime": "the summary of Weights & Biases, not a run's settings",
    "_wandb": "the settings as Weights & Biases noted them; give the recipe itself",
}


@dataclass(frozen=True)
class Found:
    """What a file gives: runs, lines about what could not be read, launches, conversions; `idle`: why it has no run."""

    stages: list[Stage]
    notes: list[str] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    idle: str = ""
    conversions: list[Conversion] = field(default_factory=list)


def suffixes() -> frozenset[str]:
    """The suffixes of files that some reader reads."""
    return SCRIPTS | frozenset(TREES) | {".py", ".toml"}


def is_script(source: Source) -> bool:
    """Whether a file is a shell script, by its suffix."""
    return source.path.suffix.lower() in SCRIPTS


def read(source: Source, launches: Sequence[Launch]) -> Found:
    """The runs that a file describes, each as one of `launches` has it, or as it stands. Raises Unreadable."""
    suffix, content = source.path.suffix.lower(), text.text(source.path, source.name)
    mine = list(dict.fromkeys(one.changes for one in launches if one.config == source.name))[:MOST] or [()]
    parsed = tree.parse(content, source.name) if suffix in TREES else None
    functions = {one.function: one.changes for one in launches if one.function}
    found = [
        stage
        for changes in mine
        for stage in (
            _text(suffix, content, source.name, changes, functions)
            if parsed is None
            else _tree(suffix, parsed, source.name, changes)
        )
    ]
    runs, idle = numbered(found) if len(mine) > 1 else found, "" if found else _idle(suffix, parsed)
    return Found(runs, idle=idle, conversions=[] if parsed is None else list(merges(parsed)))


def _idle(suffix: str, parsed: Tree | None) -> str:
    """Why a file has no run."""
    top = set() if parsed is None else set(map(str, parsed.below(())))
    log = next((why for key, why in _LOGS.items() if key in top), None)
    return log or _KEYS.get(suffix, "no recipe")


def _tree(suffix: str, parsed: Tree, name: str, changes: tuple[Change, ...]) -> list[Stage]:
    made = changed(parsed, changes)
    logged = any((key,) in parsed.places for key in _LOGS)
    found = [] if logged else next((found for one in TREES[suffix] if (found := one(made, name))), [])
    return [replace(one, slips=(*one.slips, *_twice(parsed))) for one in found]


def _text(
    suffix: str, content: str, name: str, changes: tuple[Change, ...], functions: dict[str, tuple[Change, ...]]
) -> list[Stage]:
    if suffix == ".toml":
        return torchtitan.toml_stages(content, name, changes)
    if suffix == ".py":
        found = olmo.stages(content, name, changes) or torchtitan.python_stages(content, name, functions)
        return found or transformers_python.stages(content, name)
    return []


def _twice(parsed: Tree) -> Iterator[Slip]:
    """Keys that come again with another value."""
    for path, where in parsed.twice:
        key = ".".join(map(str, path))
        yield Slip("flag-twice", where, f"{key} again, with another value", "each key once; the last one counts")


def script(source: Source, files: Sequence[str]) -> Found:
    """The runs of a script, and its launches of these files. Raises Unreadable."""
    try:
        from stages.audit.readers import bridge_script, launches, megatron, megatron_convert, transformers_script
        from stages.audit.shell import reader
    except ImportError:
        raise UserError("shell scripts are read with the extra `audit`: pip install 'stages[audit]'.") from None
    read = reader.read(source)
    readers = (megatron.stages, transformers_script.stages, bridge_script.stages)
    stages = next((found for one in readers if (found := one(read, source.name))), [])
    named = launches.launches(read, source.name, files)
    starts = [f"{where} starts {what}" for where, what in launches.started(read)]
    idle = "" if stages or named else "; ".join(starts[:2]) or "starts no program that is known here"
    unread = [] if stages or named else launches.unread(read)
    idle = idle and idle + ", with no three settings of a format"
    return Found(stages, [*read.notes, *unread], named, idle, list(megatron_convert.conversions(read)))
