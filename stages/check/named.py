"""Names that say a context which nothing has: a copy that was not changed to its end, phases that were moved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from stages.errors import SpecError, SpecErrors
from stages.spec.loader import LoadedStage
from stages.spec.project import Project
from stages.spec.schema import RawTrain

LENGTH = re.compile(r"(?:^|_)(\d{1,4})(k|m)(?=_|$)")  # cpt_512k, 32k
PREFIX = {"k": 2**10, "m": 2**20}


def misnamed(project: Project) -> list[str]:
    """A notice for each stage and phase whose name says another context than its own; the name is for people alone."""
    found: list[str] = []
    for pipeline in project.pipelines(variants=True):
        with suppress(SpecError, SpecErrors):
            found += [said for stage in project.loaded(pipeline).stages.values() for said in _of_stage(stage)]
    return list(dict.fromkeys(found))


def _of_stage(stage: LoadedStage) -> Iterator[str]:
    phases = stage.raw.phases if isinstance(stage.raw, RawTrain) else []
    contexts = [phase.context for phase in phases]
    named = [(stage.raw.stage, 0, contexts), *((one.name, n, [one.context]) for n, one in enumerate(phases))]
    for name, number, own in named if phases else ():
        for word, length in lengths(name):
            if length not in own:
                where = stage.document.where(("phases", number, "context"))
                yield f"{where}: {name!r} says {word}, and has a context of {max(own):,}."


def lengths(name: str) -> Iterator[tuple[str, int]]:
    """The contexts that a name may say: powers of two and three times those, from 4K on."""
    for number, prefix in LENGTH.findall(name):
        size = int(number) * PREFIX[prefix]
        odd = size // (size & -size) if size else 0
        if odd in (1, 3) and size >= 4096:
            yield f"{number}{prefix.upper()}i", size
