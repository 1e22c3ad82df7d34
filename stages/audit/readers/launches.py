"""Launch lines of scripts that name a configuration and change it: `train --config a.toml --training.steps 500`.

Every framework here lets the command line change its file: torchtitan and OLMo-core by `--a.b=value`, Megatron-Bridge
by `a.b=value`, LLaMA-Factory and axolotl by `key=value` and `--key value`. What is launched is the file with these.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from stages.audit.readers.arguments import flat, unfollowed
from stages.audit.readers.changes import Change, Launch
from stages.audit.shell.commands import PRINTS
from stages.audit.shell.reader import Script
from stages.audit.shell.words import Word, place, text
from stages.errors import Where
from stages.printable import printable

CONFIGS = (".toml", ".yaml", ".yml", ".json", ".py")
MOST = 100  # launches of a script, and changes of a launch: no recipe has more
DEEPEST = 8  # sections of a key
_SET = re.compile(r"(?:--|\+{0,2})([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)", re.DOTALL)
_FLAG = re.compile(r"--([A-Za-z_][\w-]*(?:\.[\w-]+)*)")
_OTHER = re.compile(r"--(?:\w*(?:deepspeed|fsdp|data|tokenizer|template|model|eval|valid|test)\w*|(?!config)\w*file)")
_STARTS = frozenset({"torchrun", "python", "python3", "accelerate", "deepspeed", "srun", "mpirun", "axolotl", "uv",
                     "llamafactory-cli", "nemotron"})  # fmt: skip


def launches(script: Script, name: str, files: Sequence[str]) -> list[Launch]:
    """Every launch of a script that names one of these files; what is only shown (`echo`) is none."""
    found: list[Launch] = []
    for command in script.commands[:MOST]:
        words = flat(command)
        if not words or text(words[0]) in {*PRINTS, "cat", "cp", "mv", "rm"}:
            continue
        if text(words[0]).endswith("run_train.sh") and command.configuration:
            words = [words[0], command.configuration, *words[1:]]
        for number, word in enumerate(words):
            if _of_another(words, number):
                continue
            config = _file(text(word).partition("=")[2] or text(word), name, files)
            function = _function(words, number)
            if config is not None or function:
                changed = tuple(changes(words[number + 1 :], command.where))[:MOST]
                found.append(Launch(config or "", changed, command.where, function))
                break
    return found


def _of_another(words: list[Word], number: int) -> bool:
    """Whether a word is no configuration of the run: `--deepspeed ds.json`, a data file, accelerate's own settings."""
    content = text(words[number])
    option = content.partition("=")[0] if content.startswith("--") else text(words[number - 1]) if number else ""
    accelerate = text(words[0]).rsplit("/", 1)[-1] == "accelerate" and option == "--config_file"
    program = any(text(word).endswith(".py") or text(word) == "-m" for word in words[number + 1 :])
    return _OTHER.fullmatch(option) is not None or (accelerate and program)


def _file(word: str, script: str, files: Sequence[str]) -> str | None:
    """The file that a word names: below the script's folder, else the only one whose path ends so."""
    if not word.endswith(CONFIGS) or "$" in word:
        return None
    path = word.removeprefix("./")
    beside = (PurePosixPath(script).parent / path).as_posix()
    if beside in files:
        return beside
    ending = [one for one in files if one == path or one.endswith("/" + path) or path.endswith("/" + one)]
    return ending[0] if len(ending) == 1 else None


def _function(words: list[Word], number: int) -> str:
    """The configuration that `--config NAME` names, of a module of functions."""
    content = text(words[number])
    given = content.removeprefix("--config=") if content.startswith("--config=") else ""
    if content == "--config" and number + 1 < len(words):
        given = text(words[number + 1])
    return given if given.isidentifier() else ""


def changes(words: list[Word], where: Where) -> Iterator[Change]:
    """What words of a launch line set: `key=value`, `--key value`, `--no-key`."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        content = text(word)
        if match := _SET.fullmatch(content):
            yield Change(_path(match[1]), _bare(match[2]), place(word, where))
        elif match := _FLAG.fullmatch(content):
            follows = bool(rest) and not _FLAG.fullmatch(text(rest[0])) and not _SET.fullmatch(text(rest[0]))
            value = rest.pop(0) if follows else None
            path, switch = _path(match[1]), "true"
            if value is None and path[-1].startswith("no_"):  # `--checkpoint.no-enable`: how tyro turns a switch off
                path, switch = (*path[:-1], path[-1].removeprefix("no_")), "false"
            yield Change(path, switch if value is None else _bare(text(value)), place(value or word, where))


def _path(key: str) -> tuple[str, ...]:
    return tuple(key.replace("-", "_").split(".", DEEPEST))


def _bare(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def started(script: Script) -> Iterator[tuple[Where, str]]:
    """The commands of a script that start a program of Python, and its name."""
    for command in script.commands[:MOST]:
        words = [text(word) for word in flat(command)]
        program = next((one for one in words if one.endswith(".py") and "$" not in one), None)
        module = next((words[n + 1] for n, one in enumerate(words[:-1]) if one == "-m"), None)
        if words and words[0].rsplit("/", 1)[-1] in _STARTS and (program or module):
            yield command.where, printable(program or module or "")


def unread(script: Script) -> list[str]:
    """A line for each program that is started with arguments which are made by what is not followed."""
    programs = dict(started(script))
    found = []
    for command in script.commands[:MOST]:
        words = flat(command)
        made = unfollowed(words, script, frozenset(), frozenset()) if command.where in programs else None
        if made is not None and any(text(word).startswith("--") for word in words):
            found.append(
                f"{command.where}: starts {programs[command.where]} with arguments that are not followed ({made})"
            )
    return found
