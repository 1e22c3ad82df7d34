"""Megatron-LM's arguments in a shell script, and what the launcher around them says of the machines."""

from __future__ import annotations

import re

from stages.audit.frameworks import settings
from stages.audit.readers import arguments
from stages.audit.readers.arguments import Argument
from stages.audit.readers.megatron_flags import FIGURES, LISTS, MARKS, SWITCHES, TRAINS, tuned
from stages.audit.readers.tables import blend
from stages.audit.recipe import Stage, Value, counted, number, numbered, scalar
from stages.audit.shell.commands import PRINTS
from stages.audit.shell.reader import Command, Script
from stages.audit.shell.words import ADDED, Word, text

NAMES = {**FIGURES, **SWITCHES, **LISTS}
_LAUNCHER = {"--nnodes": "nodes", "--nproc_per_node": "devices_per_node", "--nproc-per-node": "devices_per_node",
             "--nodes": "nodes", "--ntasks-per-node": "devices_per_node"}  # fmt: skip
_SBATCH = re.compile(r"#SBATCH\s+(--nodes|-N|--gpus-per-node|--ntasks-per-node|--gres)[ =]\s*(\S+)")


def stages(script: Script, name: str) -> list[Stage]:
    """The runs of Megatron that a script starts; the same command written twice (echoed, say) is one."""
    found: list[Stage] = []
    for command in script.commands:
        words = arguments.flat(command)
        given = {text(word).split("=")[0] for word in words}
        if len(given & MARKS) < 3 or not _trains(script, given) or text(words[0]) in PRINTS:
            continue
        launcher, own = arguments.split(words, command.where)
        found.append(_stage(script, command, name, words, launcher, own))
    return numbered(found)


def _trains(script: Script, given: set[str]) -> bool:
    """Whether a command trains: by its own flags, or by those of an array of the script that no command is given."""
    idle = (words for name, words in script.variables.arrays.items() if name not in script.variables.used)
    return bool(given & TRAINS) or any(text(word).split("=")[0] in TRAINS for words in idle for word in words)


def _stage(
    script: Script, command: Command, name: str, words: list[Word], launcher: list[Argument], own: list[Argument]
) -> Stage:
    values: dict[str, Value] = {}
    for one in own:
        if one.flag in FIGURES:
            values[FIGURES[one.flag]] = arguments.value(one, FIGURES[one.flag])
        elif one.flag in SWITCHES:
            values[SWITCHES[one.flag]] = Value(True, one.where, one.flag)
        elif one.flag in LISTS:
            values |= _lists(one)
    values = tuned(values) | _machines(script, launcher)
    made = arguments.unfollowed(words, script, frozenset({*FIGURES, *LISTS}), frozenset(SWITCHES))
    if made is not None:
        values["partial"] = Value(True, made, "arguments that are made by what is not followed")
    known = settings("megatron.txt")
    slips = (
        *arguments.misspelt(own, known, frozenset(NAMES)),
        *arguments.without_value(own, FIGURES),
        *arguments.slips_of(script, command.where.file, own, NAMES, known),
    )
    return Stage(name, "megatron-lm", command.where, values, slips=slips)


def _lists(argument: Argument) -> dict[str, Value]:
    words = tuple(scalar(word) for word, _ in argument.words)
    where = argument.words[0][1] if argument.words else argument.where
    if LISTS[argument.flag] == "ramp":
        return {"ramp": Value(words, where, argument.flag)}
    paths = tuple(word for word, _ in argument.words)
    mixed, figure = blend(paths), LISTS[argument.flag]
    whole = not any("$(" in path or ADDED in path for path in paths)
    if mixed is None or not whole:
        return {figure: Value(paths if whole else None, where, argument.flag, None if whole else "made by a command")}
    shares = {} if figure == "eval_data" else {"data_weights": Value(mixed[0], where, argument.flag)}
    return shares | {figure: Value(mixed[1], where, argument.flag)}


def _machines(script: Script, launcher: list[Argument]) -> dict[str, Value]:
    """Nodes and devices, by the launcher's arguments, else by Slurm's directives."""
    found: dict[str, Value] = {}
    for where, comment in script.comments:
        match = _SBATCH.match(comment)
        if match and (figure := number(match[2].split(":")[-1])) is not None:
            key = "nodes" if match[1] in {"--nodes", "-N"} else "devices_per_node"
            found[key] = Value(figure, where, match[1])
    for one in launcher:
        if one.flag in _LAUNCHER and (stated := arguments.value(one, _LAUNCHER[one.flag])).value is not None:
            found[_LAUNCHER[one.flag]] = stated
    sizes = [found[key].value if key in found else None for key in ("nodes", "devices_per_node")]
    world = counted(size if isinstance(size, int) else None for size in sizes)
    if world is not None:
        found["world"] = Value(world, found["nodes"].where, "nodes x devices")
    return found
