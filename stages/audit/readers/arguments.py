"""The arguments of a training command: flags with their words, in order, each with its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stages.audit.recipe import PATHS, Slip, Value, scalar
from stages.audit.shell.reader import Command, Script
from stages.audit.shell.words import ADDED, SUBSTITUTION, Word, fields, place, text, unknown
from stages.errors import Where
from stages.printable import printable

MAX_NEAR = 400  # names among which misspellings are looked for: no recipe has more
_QUOTES = str.maketrans("", "", "\"'")


@dataclass(frozen=True)
class Argument:
    """One flag as it was written, and the words up to the next flag."""

    flag: str
    where: Where
    words: tuple[tuple[str, Where], ...]


def flat(command: Command) -> list[Word]:
    """The words of a command, those that are commands themselves (`bash -c "..."`) cut apart."""
    words: list[Word] = []
    for word in command.words:
        content = text(word)
        words += fields(word, everywhere=True) if " --" in content or "\t--" in content else [word]
    return words


def split(words: list[Word], where: Where) -> tuple[list[Argument], list[Argument]]:
    """What the launcher is given, and what the training script is: the first word that ends in .py."""
    cut = next((n for n, word in enumerate(words) if text(word).split("/")[-1].endswith(".py")), None)
    module = next((n + 1 for n, word in enumerate(words[:-1]) if text(word) == "-m"), None)
    start = cut if cut is not None else module
    if start is None:
        every = list(_arguments(words, where))
        return every, every
    return list(_arguments(words[:start], where)), list(_arguments(words[start + 1 :], where))


def _arguments(words: list[Word], where: Where) -> Iterator[Argument]:
    flag, at, values = "", where, list[tuple[str, Where]]()
    for word in words:
        content = text(word).translate(_QUOTES) if text(word).startswith(('"', "'")) else text(word)
        if content.startswith("--") and len(content) > 2:
            if flag:
                yield Argument(flag, at, tuple(values))
            flag, equals, rest = content.partition("=")
            at, values = place(word, where), [(rest, place(word, where))] if equals else []
        elif flag:
            values.append((content, place(word, where)))
    if flag:
        yield Argument(flag, at, tuple(values))


def value(argument: Argument, figure: str) -> Value:
    """The first word of a flag as a figure, at the line that it was written in; unknown without one.

    Of a path the parts that are unknown stay, as `${NAME}`: two paths of one script with the same one are the same.
    """
    if not argument.words:
        return Value(None, argument.where, argument.flag, "no value follows it")
    content, where = argument.words[0]
    reason = unknown(content)
    if figure in PATHS and reason != "the output of a command":
        return Value(printable(content), where, argument.flag)
    return Value(scalar(content) if reason is None else None, where, argument.flag, reason)


def twice(arguments: list[Argument], figures: Mapping[str, str], known: frozenset[str]) -> Iterator[Slip]:
    """Flags that are given again with another value: the last one counts, and the first has no effect.

    What a file that is sourced says, the script may say again: that is what shared files are for. A flag that the
    framework does not have may be one of which every value counts.
    """
    seen: dict[str, Argument] = {}
    for one in (one for one in arguments if one.flag in known or one.flag in figures):
        first = seen.setdefault(figures.get(one.flag, one.flag), one)
        if first is one or [word for word, _ in first.words] == [word for word, _ in one.words]:
            continue
        if first.where.file != one.where.file:
            continue
        found = f"{one.flag} {_value_text(one)}, after {first.flag} {_value_text(first)} in line {first.where.line}"
        where = one.words[0][1] if one.words else one.where
        yield Slip("flag-twice", where, printable(found), "each flag once; the last one counts")


def misspelt(arguments: list[Argument], known: frozenset[str], used: frozenset[str]) -> Iterator[Slip]:
    """Flags that the framework does not have, where one that matters is close by: forks add flags of their own."""
    others = [one for one in arguments if one.flag not in known and re.fullmatch(r"--[A-Za-z][\w-]*", one.flag)]
    for one in others[:MAX_NEAR]:
        near = difflib.get_close_matches(one.flag, used, n=1, cutoff=0.88)
        if near and one.flag.rstrip("0123456789") != near[0].rstrip("0123456789"):
            yield Slip("flag-unknown", one.where, f"{one.flag}, which no version known here has", f"{near[0]}?")


def without_value(arguments: list[Argument], figures: Mapping[str, str]) -> Iterator[Slip]:
    """Flags of figures that no word follows."""
    for one in arguments:
        if one.flag in figures and (not one.words or not one.words[0][0]):
            yield Slip("flag-without-value", one.where, f"{one.flag} without a value", "a value after it")


def unfollowed(words: list[Word], script: Script, figures: frozenset[str], switches: frozenset[str]) -> Where | None:
    """Where arguments stand that something makes which is not followed: then what the command leaves out is unknown.

    A variable that nothing in the script sets is empty, as published; flags that a branch may add count where they say
    something of the recipe.
    """
    before = ""
    for word in words:
        content = text(word)
        name = content[2:-1] if content.startswith("${") and content.endswith("}") else ""
        made = content == SUBSTITUTION or "[" in name or name in script.variables.outside
        if content.startswith(ADDED):
            flags = frozenset(re.findall(r"--[\w-]+", content))
            made = not flags or bool(flags & (figures | switches))
        if made and before not in figures:
            return place(word, Where("", 1))
        before = content if content.startswith("--") else ""
    return None


def unset(script: Script) -> Iterator[Slip]:
    """Variables that nothing sets, and that a letter divides from one that is set, or two from one that nothing uses.

    Others are the environment's.
    """
    assigned = list(script.variables.assigned)[:MAX_NEAR]
    idle = [one for one in assigned if one not in script.variables.used]
    for name, where in list(script.variables.missing.items())[:MAX_NEAR]:
        if name in script.variables.assigned or not re.fullmatch(r"[A-Za-z_]\w*", name):
            continue
        near = difflib.get_close_matches(name, assigned, n=1, cutoff=0.9)
        near = near or difflib.get_close_matches(name, idle, n=1, cutoff=0.75)
        if near:
            found = f"${name}, which nothing in the script sets"
            yield Slip("variable-unset", where, found, f"${near[0]}, which is set?", certain=False)


def unpassed(script: Script, file: str, flags: frozenset[str]) -> Iterator[Slip]:
    """Arrays of flags of the script itself that no command is given: what they say does not take effect."""
    variables = script.variables
    texts = {name: fields(word, everywhere=True) for name, word in variables.scalars.items() if " --" in text(word)}
    for name, words in {**texts, **variables.arrays}.items():
        if name in script.variables.used or not any(text(word) in flags for word in words):
            continue
        first = script.variables.assigned.get(name, Where("", 1))
        if first.file != file:
            continue  # of a shared file one script uses this, and another one that
        kind, used = ("array", f"${{{name}[@]}}") if name in variables.arrays else ("variable", f"${name}")
        yield Slip("flags-not-passed", first, f"the {kind} {name}, which no command is given", f"{used} in it")


def cut_off(script: Script) -> Iterator[Slip]:
    """Lines of flags that are commands of their own: the line above has no backslash at its end, or a blank behind it.

    The shell runs what is before them without them.
    """
    for command in script.commands:
        first = text(command.words[0]) if command.words else ""
        if re.fullmatch(r"--[A-Za-z][\w-]*(?:=.*)?", first):
            above = Where(command.where.file, max(1, command.where.line - 1))
            found = f"{first} and what follows it, which is no part of the command above"
            yield Slip("flags-not-passed", above, found, "a backslash at the very end of this line")


def slips_of(
    script: Script, file: str, own: list[Argument], figures: Mapping[str, str], known: frozenset[str]
) -> Iterator[Slip]:
    """The mistakes of a command's flags and of the script around it; `file` has the command, `known` are flags."""
    yield from twice(own, figures, known)
    yield from unset(script)
    yield from cut_off(script)
    yield from unpassed(script, file, frozenset(figures))


def _value_text(argument: Argument) -> str:
    return " ".join(word for word, _ in argument.words[:3])
