"""Under which code and in which environments the steps of a stage were computed.

A stage may take many attempts, weeks apart and on several machines. Each checkpoint notes what its steps were made by,
so that a result whose attempts differ does not promise equal bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from stages.engines import Inputs, place
from stages.engines.results import Tier
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Engine
from stages.store import fingerprint, json_file, run_record
from stages.store.run_record import MadeBy
from stages.train.ranks import Ranks

FILE = "made_by.json"


class Maker(MadeBy):
    """The same in a checkpoint, which says nothing else of it; "unknown" where it does not say."""

    model_config = ConfigDict(extra="forbid")


UNKNOWN = Maker(code="unknown", environment="unknown")
_MAKERS = TypeAdapter(frozenset[Maker])


def here(ranks: Ranks, engine: Engine = "torch") -> frozenset[Maker]:
    """This run's: its ranks may be on machines of several kinds, with copies of the code. All ranks must call it."""
    found = place.environment(ranks.device, engine)
    own = [fingerprint.code(), str(found["id"]), fingerprint.described(found)]
    return frozenset(Maker(code=code, environment=id, words=words) for code, id, words in ranks.values(own))


def save(folder: Path, makers: Iterable[Maker]) -> None:
    """Note in a checkpoint that is being written what its steps were made by."""
    json_file.write(folder / FILE, listed(makers))


def of(folder: Path) -> frozenset[Maker]:
    """What a checkpoint's steps were made by. Raises JsonFileError."""
    try:
        return json_file.read_as(folder / FILE, _MAKERS)
    except json_file.MissingFileError:
        return frozenset({UNKNOWN})


def listed(makers: Iterable[Maker]) -> list[dict[str, str]]:
    """As JSON, in one order, each code and environment once."""
    ordered = sorted(makers, key=lambda one: (one.code, one.environment, one.words))
    return [one.model_dump() for one in {(one.code, one.environment): one for one in ordered}.values()]


def tier(makers: frozenset[Maker]) -> Tier:
    """What steps made by these promise together: other code may do anything, other machines round otherwise."""
    if len({maker.code for maker in makers}) > 1:
        return "statistical"
    return "same-order" if len({maker.environment for maker in makers}) > 1 else "bit-exact"


def difference(earlier: frozenset[Maker], now: frozenset[Maker]) -> str:
    """A sentence for the log where a run goes on with steps that something else made; "" where nothing differs."""
    together = earlier | now
    promised = tier(together)
    if promised == "bit-exact":
        return ""
    what = "code" if promised == "statistical" else "environments"
    values = sorted({maker.code if promised == "statistical" else maker.described for maker in together})
    return f"steps made under different {what} ({', '.join(values)}): the result's tier is {promised} at most"


def of_parents(stage: Stage, inputs: Inputs, now: frozenset[Maker]) -> Iterator[str]:
    """A sentence for the log for each trained parent that was computed in another environment than this run's."""
    for ref in inputs.parents:
        with suppress(json_file.JsonFileError, OSError):
            run = run_record.read(inputs.layout.stage(ref))
            if run.made_by and run.environment.id not in {maker.environment for maker in now}:
                there = fingerprint.described(run.environment.model_dump())
                yield (
                    f"{stage.ref}: {ref} was computed in another environment, {there}; this one is "
                    f"{', '.join(sorted(maker.described for maker in now))}. Both computed in one may have other bits."
                )
