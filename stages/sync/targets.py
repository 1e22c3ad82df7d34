"""Names passed to Snakemake that it does not have: a line before its own message, which names no other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from stages.spec.validate import near
from stages.sync.graph import rule_name

WORD = re.compile(r"[A-Za-z0-9_]+")


def mistaken(words: Sequence[str], rules: Collection[str], refs: Collection[str]) -> Iterator[str]:
    """Lines about a command line: pipeline/stage in place of its rule, and names that are nearly a rule's.

    What follows a long option may be the option's value, and any other word may be a file that a rule makes: nothing
    is refused here.
    """
    for before, word in zip(["", *words], words, strict=False):
        if word in refs:
            yield f"{word}: Snakemake calls it {rule_name(word)}: `snakemake {rule_name(word)}`."
        elif WORD.fullmatch(word) and word not in rules and not (before.startswith("--") and before != "--dry-run"):
            meant = near(word, rules)
            if meant:
                yield f"{word}: no rule has this name. {meant}"
