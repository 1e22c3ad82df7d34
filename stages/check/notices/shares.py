"""Shares of corpora beside those of another mixture: two that were exchanged, one that was lost, a replay in which one
share is not the other's times the replay's: notices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import combinations, permutations

from stages.spec.loader_data import LoadedData
from stages.spec.sources import marks

FEWEST = 3  # corpora: two at 30% and 70%, and then at 70% and 30%, are a curriculum

Shares = Mapping[str, Fraction]


def exchanged(data: LoadedData) -> Iterator[str]:
    """A notice for each two mixtures of the same shares, or of shares that are the other's times one factor, of which
    two are exchanged.
    """
    for group, whole in _groups(data).items():
        seen: set[frozenset[str]] = set()  # one of several mixtures alike is the odd one, whichever it is compared with
        for first, second in combinations(whole, 2):
            mine, theirs = whole[second], whole[first]
            factor, apart = _factor(mine, theirs)
            alike = len(mine.keys() & theirs.keys()) - len(apart)
            if len(apart) != 2 or alike < (1 if mine.keys() == theirs.keys() else 2):
                continue
            one, other = apart
            if {one, other} not in seen and (mine[one], mine[other]) == (
                factor * theirs[other],
                factor * theirs[one],
            ):
                seen.add(frozenset({one, other}))
                said = f"is {first}" if factor == 1 else f"has the shares of {first} times {factor} in group {group},"
                yield f"{_where(data, second, one)}: {second} {said} with the shares of {one} and {other} exchanged."


def dropped(data: LoadedData) -> Iterator[str]:
    """A notice for each mixture that is another without one of its corpora, whose share one other corpus has."""
    for whole in _groups(data).values():
        for name, other in permutations(whole, 2):
            mine, theirs = whole[name], whole[other]
            lost, apart = theirs.keys() - mine.keys(), [one for one in mine if mine[one] != theirs.get(one)]
            if len(mine) >= FEWEST and len(lost) == len(apart) == 1 and apart[0] in theirs:
                (gone,), (more,) = lost, apart
                yield (
                    f"{_where(data, name, more)}: {name} is {other} without {gone}, whose {_percent(theirs[gone])} "
                    f"{more} has."
                )


def out_of_proportion(data: LoadedData) -> Iterator[str]:
    """A notice for each mixture that is said to follow from published shares and is not what another one is, times a
    factor: one corpus at another proportion, or all of them but one.
    """
    derived = {str(path[1]) for path, mark in marks(data.mixtures_document.value) if mark == "derived"}
    groups = _groups(data)
    for name, other in permutations(data.mixtures.mixtures, 2):
        pairs = [(whole[name], whole[other]) for whole in groups.values() if name in whole and other in whole]
        compared = [(mine, theirs, *_factor(mine, theirs)) for mine, theirs in pairs]
        alike = sum(len(mine.keys() & theirs.keys()) - len(apart) for mine, theirs, _, apart in compared)
        for mine, theirs, factor, apart in compared if name in derived and alike >= FEWEST else ():
            lost = theirs.keys() - mine.keys()
            if not lost and apart:
                usual = next(one for one in theirs if one not in apart)
                said = f"{_times(apart[0], mine, theirs)} and {_times(usual, mine, theirs)}"
                yield f"{_where(data, name, apart[0])}: {name} is derived, and of {other} it has {said}."
            elif len(lost) == 1 and not apart:
                at = next(one for one in mine if one in theirs)
                said = f"{other} times {factor} without {min(lost)}"
                yield f"{_where(data, name, at)}: {name} is derived, and has {said}."


def _groups(data: LoadedData) -> dict[str, dict[str, dict[str, Fraction]]]:
    """By group, the shares of each mixture that has corpora of it."""
    found: dict[str, dict[str, dict[str, Fraction]]] = {}
    for name, raw in data.mixtures.mixtures.items():
        for source in raw.sources:
            found.setdefault(source.group, {}).setdefault(name, {})[source.corpus] = source.share
    return found


def _factor(mine: Shares, theirs: Shares) -> tuple[Fraction, list[str]]:
    """The factor between most shares of the corpora that two mixtures have, and the corpora that have another one."""
    factors = {corpus: share / theirs[corpus] for corpus, share in mine.items() if corpus in theirs}
    usual = Counter(factors.values()).most_common(1)
    return (usual[0][0], [one for one in factors if factors[one] != usual[0][0]]) if usual else (Fraction(0), [])


def _where(data: LoadedData, name: str, corpus: str) -> str:
    number = [one.corpus for one in data.mixtures.mixtures[name].sources].index(corpus)
    return str(data.mixtures_document.where(("mixtures", name, "sources", number, "share")))


def _times(corpus: str, mine: Shares, theirs: Shares) -> str:
    return f"{corpus} at {_percent(mine[corpus])} for {_percent(theirs[corpus])}"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:.4g}%"
