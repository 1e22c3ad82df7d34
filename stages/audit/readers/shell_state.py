"""The variables of a script while it is read, and what the two ways of a branch leave of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from stages.audit.readers.shell_words import Piece, Word, text
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
    maps: set[str] = field(default_factory=set)  # associative arrays: their elements are scalars `NAME[key]`

    def fork(self) -> Variables:
        """A copy for one way of a branch; what is noted of the whole script is shared."""
        arrays = {name: list(words) for name, words in self.arrays.items()}
        shared = self.assigned, self.used, self.missing, self.outside, self.maps
        return Variables(dict(self.scalars), arrays, *shared)

    def keep(self, ways: list[Variables]) -> None:
        """After a branch that cannot be decided: what every way has in common stays, the rest is unknown.

        A text or list that one way only adds to is in common: a command with more words on it is still the command.
        """
        for name in {name for way in ways for name in (*way.scalars, *way.arrays)}:
            self.drop(name)
            scalars = sorted((way.scalars.get(name, ()) for way in ways), key=lambda word: len(text(word)))
            arrays = sorted((way.arrays.get(name, []) for way in ways), key=len)
            if scalars[0] and all(text(word).startswith(text(scalars[0])) for word in scalars):
                self.scalars[name] = scalars[0]
            elif arrays[0] and all(_texts(words)[: len(arrays[0])] == _texts(arrays[0]) for words in arrays):
                self.arrays[name] = arrays[0]
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

    def give_array(self, name: str, words: list[Word], where: Where, append: bool = False) -> None:
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
        self.used |= {name, name.partition("[")[0]}
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


def _texts(words: list[Word]) -> list[str]:
    return [text(word) for word in words]
