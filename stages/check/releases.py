"""Names of released models: S-12."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator

from stages.check.context import Context
from stages.check.findings import Finding
from stages.check.registry import static
from stages.spec.schema import RawTrain

CLOSE = 0.82  # difflib's ratio: one letter more, less or another, in names of six letters and more


@static(
    "S-12",
    title="A release goes by one name",
    rule="A release that is not called as its model is not almost called so, nor almost as another release of the "
    "project that is named more often.",
    why="Scales without releases train a stand-in whatever the name is; where they are given, the folder of a misspelt "
    "one is not there, and the job ends after the queue.",
    threads=(),
)
def releases_go_by_one_name(context: Context) -> Iterator[Finding]:
    """S-12."""
    every = (found for one in (context.loaded, *context.others) for found in one.releases.values())
    named = Counter(release for found in every for _, release, _ in found)
    for name, _ in context.own:
        for module, release, model in context.loaded.releases.get(name, ()):
            if release in context.loaded.raw.models:
                continue
            others = [one for one in named if one != release and named[one] > named[release]]
            meant = next((one for one in (model, *others) if _almost(release, one)), None)
            if meant is not None:
                train = isinstance(context.loaded.stages[name].raw, RawTrain)
                path = ("init", "weights", module) if train else ("release",)
                yield context.finding(
                    "S-12", name, path, observed=f"release {release!r}", expected=f"{meant!r}, or quite another name",
                    repair=f"Did you mean {meant!r}? Else give the release a name of its own, or waive this.",
                )  # fmt: skip


def _almost(one: str, other: str) -> bool:
    """Whether two names differ as a slip does; a word more at the end (`_instruct`) is another name."""
    longer, shorter = sorted((one, other), key=len, reverse=True)
    if longer.startswith(shorter) and len(longer) - len(shorter) > 1:
        return False
    return difflib.SequenceMatcher(None, one, other).ratio() >= CLOSE
