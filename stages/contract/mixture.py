"""Which corpus sample i of a phase comes from: cumulative-count rounding, in integers, O(depth) per sample.

Let F(n) be the exact integral of the multimodal share over the first n samples. Sample i is multimodal iff
floor(F(i+1)) > floor(F(i)): the count in every prefix is within one of its target. Inside each group the sources
are split in two halves by weight, and each half again, by the same rule; every level adds less than one sample to
the error, so the share of any prefix stays within nesting depth + 1 samples of its target.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from stages.spec.resolved_phases import Phase, ShareRamp, Source


@dataclass(frozen=True)
class _Leaf:
    source: int
    weight: int


@dataclass(frozen=True)
class _Split:
    """`left.weight` of every `weight` samples go left, evenly spread."""

    left: _Leaf | _Split
    right: _Leaf | _Split
    weight: int


class Mixture:
    """The order in which a phase's sources take turns.

    `pick(i)` says which source sample i is read from, and its index among the samples of that source.
    """

    def __init__(self, phase: Phase) -> None:
        """Raises ValueError if a group has no weight, or if two groups come without a share (or one with)."""
        groups = {
            name: tuple((number, source) for number, source in enumerate(phase.sources) if source.group == name)
            for name in ("text", "multimodal")
        }
        self._share = None if phase.share is None else _Share(phase.share)
        present = [name for name, members in groups.items() if members]
        if (self._share is None) != (len(present) == 1) or not present:
            raise ValueError(f"phase {phase.name!r}: a multimodal share needs exactly both groups of sources")
        self._sources = len(phase.sources)
        self._weights = sum(source.weight for source in phase.sources)
        self._trees = {name: _tree(groups[name]) for name in present}

    @property
    def depth(self) -> int:
        """Levels of two-way splits between a sample and its source."""
        return (self._share is not None) + max(_depth(tree) for tree in self._trees.values())

    def pick(self, i: int) -> tuple[int, int]:
        """(index into phase.sources, ordinal within that source) of sample i >= 0 of the phase."""
        if i < 0:
            raise IndexError(f"sample {i} comes before the first")
        if self._share is None:
            (tree,) = self._trees.values()
            return _descend(tree, i)
        multimodal = self._share.count(i)
        if self._share.count(i + 1) > multimodal:
            return _descend(self._trees["multimodal"], multimodal)
        return _descend(self._trees["text"], i - multimodal)

    def place(self, source: int, ordinal: int, n: int) -> int | None:
        """The sample i < n with `pick(i) == (source, ordinal)`; None where the first n samples do not come to it."""
        name, tree = next((name, tree) for name, tree in self._trees.items() if _holds(tree, source))
        number = _ascend(tree, source, ordinal)
        if self._share is None:
            return number if number < n else None
        share = self._share

        def before(i: int) -> int:  # how many of the group are among the first i + 1 samples
            return share.count(i + 1) if name == "multimodal" else i + 1 - share.count(i + 1)

        i = bisect_left(range(n), number + 1, key=before)
        return i if i < n else None

    def ahead(self, i: int) -> Iterator[tuple[int, int]]:
        """From sample i on, every source once, where it is picked first: what may stand in for sample i."""
        tried: set[int] = set()
        for source, ordinal in map(self.pick, range(i, i + self._weights)):
            if source not in tried:
                tried.add(source)
                yield source, ordinal

    def multimodal(self, n: int) -> int:
        """How many of the first n samples are multimodal."""
        if self._share is None:
            return n if "multimodal" in self._trees else 0
        return self._share.count(n)

    def counts(self, n: int) -> tuple[int, ...]:
        """How many of the first n samples each source gives, in the order of phase.sources."""
        totals = [0] * self._sources
        multimodal = self.multimodal(n)
        for name, tree in self._trees.items():
            _count(tree, multimodal if name == "multimodal" else n - multimodal, totals)
        return tuple(totals)


class _Share:
    """floor(F(n)) of a share ramp, over one common denominator so that only integers are touched."""

    def __init__(self, ramp: ShareRamp) -> None:
        first, last = ramp.ends
        if not (0 <= first <= 1 and 0 <= last <= 1) or ramp.over < 0:
            raise ValueError(f"a share lies in [0, 1] and its ramp is not negative: {first} to {last} over {ramp.over}")
        # F(n) = first n + (last - first) n^2 / (2 over) up to `over`, then + last per sample.
        self._over = ramp.over
        scale = 2 * max(1, ramp.over) * first.denominator * last.denominator
        self._scale = scale
        self._first = int(first * scale)
        self._last = int(last * scale)
        self._slope = int((last - first) * scale / (2 * max(1, ramp.over)))

    def count(self, n: int) -> int:
        on_ramp = min(n, self._over)
        total = self._first * on_ramp + self._slope * on_ramp * on_ramp + self._last * (n - on_ramp)
        return total // self._scale


def _tree(members: tuple[tuple[int, Source], ...]) -> _Leaf | _Split:
    if len(members) == 1:
        number, source = members[0]
        if source.weight <= 0:
            raise ValueError(f"source {source.corpus!r} has weight {source.weight}; weights are positive")
        return _Leaf(number, source.weight)
    middle = len(members) // 2
    left, right = _tree(members[:middle]), _tree(members[middle:])
    return _Split(left, right, left.weight + right.weight)


def _depth(tree: _Leaf | _Split) -> int:
    return 0 if isinstance(tree, _Leaf) else 1 + max(_depth(tree.left), _depth(tree.right))


def _descend(tree: _Leaf | _Split, i: int) -> tuple[int, int]:
    while isinstance(tree, _Split):
        before = i * tree.left.weight // tree.weight
        if (i + 1) * tree.left.weight // tree.weight > before:
            tree, i = tree.left, before
        else:
            tree, i = tree.right, i - before
    return tree.source, i


def _holds(tree: _Leaf | _Split, source: int) -> bool:
    if isinstance(tree, _Leaf):
        return tree.source == source
    return _holds(tree.left, source) or _holds(tree.right, source)


def _ascend(tree: _Leaf | _Split, source: int, ordinal: int) -> int:
    """The number that `_descend` takes to (source, ordinal)."""
    if isinstance(tree, _Leaf):
        return ordinal
    if _holds(tree.left, source):  # the first i with floor((i + 1) left / weight) > k
        k = _ascend(tree.left, source, ordinal)
        return -(-(k + 1) * tree.weight // tree.left.weight) - 1
    k = _ascend(tree.right, source, ordinal)  # the first i with ceil((i + 1) right / weight) > k
    return k * tree.weight // tree.right.weight


def _count(tree: _Leaf | _Split, n: int, totals: list[int]) -> None:
    if isinstance(tree, _Leaf):
        totals[tree.source] += n
        return
    left = n * tree.left.weight // tree.weight
    _count(tree.left, left, totals)
    _count(tree.right, n - left, totals)
