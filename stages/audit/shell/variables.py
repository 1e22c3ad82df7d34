"""The variables of a script while it is read, and what the two ways of a branch leave of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stages.audit.shell.words import Piece, Word, added, text
from stages.errors import Where


@dataclass
class Variables:
    """Scalars and arrays by name. `used` and `missing` are for the whole script: what was used, what nothing set."""

    scalars: dict[str, Word] = field(default_factory=dict)
    arrays: dict[str, list[Word]] = field(default_factory=dict)
    assigned: dict[str, Where] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    missing: dict[str, Where] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)  # set by something that is not read here: `read`, a function

    def fork(self) -> Variables:
        """A copy for one way of a branch; what is noted of the whole script is shared."""
        arrays = {name: list(words) for name, words in self.arrays.items()}
        shared = self.assigned, self.used, self.missing, self.outside
        return Variables(dict(self.scalars), arrays, *shared)

    def keep(self, ways: list[Variables]) -> None:
        """After a branch that cannot be decided: what every way has in common stays, the rest is unknown.

        Of a text or list that some ways only add words to, the common ones stay, and one that is unknown behind them: a
        command with more words on it is still the command.
        """
        for name in {name for way in ways for name in (*way.scalars, *way.arrays)}:
            self.drop(name)
            scalars, arrays = [way.scalars.get(name, ()) for way in ways], [way.arrays.get(name, []) for way in ways]
            words, listed = common(scalars), min(arrays, key=len)
            if words:
                self.scalars[name] = words
            elif listed and all(_texts(one)[: len(listed)] == _texts(listed) for one in arrays):
                more = [" ".join(_texts(one[len(listed) :])) for one in arrays]
                self.arrays[name] = [*listed, *([(added(more, listed[-1][0].where),)] if any(more) else [])]
            else:
                self.outside.add(name)

    def drop(self, name: str) -> None:
        """Forget a variable."""
        self.scalars.pop(name, None)
        self.arrays.pop(name, None)

    def lose(self, name: str) -> None:
        """Forget a variable that something sets which is not read here."""
        self.drop(name)
        self.outside.add(name)

    def give(self, name: str, word: Word, where: Where, append: bool = False) -> None:
        """NAME=word, or NAME+=word."""
        self.assigned.setdefault(name, where)
        before = self.scalars.get(name, ()) if append else ()
        self.drop(name)
        self.scalars[name] = (*before, *word)

    def give_array(self, name: str, words: list[Word], where: Where, append: bool) -> None:
        """NAME=(words), or NAME+=(words)."""
        self.assigned.setdefault(name, where)
        before = self.elements(name) if append else []
        self.drop(name)
        self.arrays[name] = [*before, *words]

    def elements(self, name: str) -> list[Word]:
        """The elements that `${NAME[@]}` stands for."""
        self.used.add(name)
        if name in self.arrays:
            return self.arrays[name]
        return [self.scalars[name]] if name in self.scalars else []

    def known(self, name: str) -> bool:
        """Whether the script has given it a value."""
        return name in self.scalars or name in self.arrays

    def pieces(self, name: str, where: Where, quoted: bool) -> Iterator[Piece]:
        """What `$NAME` stands for: its text, of an array the first element; `${NAME}` where nothing set it."""
        self.used.add(name)
        word = self.scalars.get(name)
        if word is None and self.arrays.get(name):
            word = self.arrays[name][0]
        if word is None and name.isdigit() and "@" in self.arrays:
            word = (Piece("", where),)  # a parameter that the call does not give
        if word is None:
            if name not in self.outside and name not in self.assigned:
                self.missing.setdefault(name, where)
            word = (Piece(f"${{{name}}}", where),)
        for piece in word:
            yield Piece(piece.text, piece.where, not quoted)


def common(ways: list[Word]) -> Word | None:
    """What all ways make of a text: itself, or the words that it begins with and an unknown one; None for others."""
    shortest = min(ways, key=lambda way: len(text(way)))
    start = text(shortest)
    rest = [text(way)[len(start) :] for way in ways]
    if not shortest or not all(text(way).startswith(start) for way in ways):
        return None
    if not any(rest):
        return shortest
    if not all(not start.strip() or start[-1:].isspace() or one[:1].isspace() for one in rest if one):
        return None  # another word, as 1000 and 10000
    where = shortest[-1].where
    return (*shortest, *([Piece(" ", where, True)] if start.strip() else []), added(rest, where))


def _texts(words: list[Word]) -> list[str]:
    return [text(word) for word in words]
