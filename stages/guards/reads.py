"""What a stage reads, phase by phase, and what the stages above it have read: kept in checkpoints and handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from stages.data.loading.sample import Sample
from stages.guards.end import union
from stages.guards.phase_log import PhaseLog, Rows
from stages.guards.report import PhaseReads
from stages.spec.resolved_phases import Phase
from stages.store import json_file
from stages.store.manifest import NAME as MANIFEST

FILE = "reads.json"
LIMIT = 4 << 30  # bytes: a long phase has a number for each of its rows
Intervals = dict[str, list[tuple[int, int]]]
_INTERVALS = TypeAdapter(Intervals)
_PHASES = TypeAdapter(list[PhaseReads] | None)


class Reads:
    """The logs of a stage's phases, and what the stages above read."""

    def __init__(self, lineage: Intervals) -> None:
        self.lineage = lineage
        self._done: list[PhaseReads] = []
        self._current: PhaseLog | None = None
        self._kept: PhaseReads | None = None  # of the phase in which a checkpoint was taken
        self._known = True

    def watch(self, phase: Phase, data: Rows, data_root: Path) -> Rows:
        """The phase's data from now on; the phase before is closed.

        Data that is not read from prepared corpora cannot be recounted: it is passed through, and nothing is reported.
        """
        self._close()
        if not all((data_root / source.corpus / MANIFEST).is_file() for source in phase.sources):
            self._known = False
            return data
        self._current = PhaseLog(phase, data, data_root)
        if self._kept is not None:
            self._current.restore(self._kept)
            self._kept = None
        return self._current

    def taken(self) -> None:
        """Count what was read for a step, now that it was trained on."""
        if self._current is not None:
            self._current.taken()

    @property
    def last(self) -> Sample | None:
        """The last row of tokens."""
        return self._current.last if self._current else None

    def report(self) -> tuple[PhaseReads, ...] | None:
        """One entry a phase; None after a checkpoint that was written without."""
        now = () if self._current is None else (self._current.report(),)
        return (*self._done, *now) if self._known else None

    def tokens(self) -> list[dict[str, int]] | None:
        """Units of each corpus that each phase read, repetitions counted; None where that is not known."""
        found = self.report()
        if found is None:
            return None
        return [
            {
                corpus: sum((end - start) * times for start, end, times in parts)
                for corpus, parts in phase.segments.items()
            }
            for phase in found
        ]

    def kept(self) -> Callable[[Path], None]:
        """For a checkpoint: what was read so far, as what writes it to a file, also after more has been read."""
        found = self.report()
        return lambda path: _write(path, None if found is None else [_plain(phase) for phase in found])

    def load(self, path: Path, phase: int) -> None:
        """Go on from a checkpoint taken in (or before) phase number `phase`."""
        kept = json_file.read_as(path, _PHASES, LIMIT) if path.is_file() else None
        self._known, phases = kept is not None, kept or []
        self._done, self._kept = phases[:phase], phases[phase] if len(phases) > phase else None

    def handed_on(self) -> Intervals:
        """What this stage and those above read, for the stages below."""
        parts: Intervals = {corpus: list(intervals) for corpus, intervals in self.lineage.items()}
        for phase in self.report() or ():
            for corpus, segments in phase.segments.items():
                parts.setdefault(corpus, []).extend((start, end) for start, end, _ in segments)
        return union(parts)

    def _close(self) -> None:
        if self._current is not None:
            self._done.append(self._current.report())
            self._current = None


def write_lineage(path: Path, intervals: Intervals) -> None:
    """Write what a stage and those above it read, by corpus."""
    _write(path, intervals)


def read_lineage(paths: Sequence[Path]) -> Intervals:
    """The union of what parents hand on; a parent without the file read nothing that is known."""
    parts: Intervals = {}
    for path in paths:
        if path.is_file():
            for corpus, intervals in json_file.read_as(path, _INTERVALS, LIMIT).items():
                parts.setdefault(corpus, []).extend(intervals)
    return union(parts)


def _write(path: Path, value: Any) -> None:
    json_file.write(path, value, indent=None)


def _plain(phase: PhaseReads) -> dict[str, Any]:
    return dict(vars(phase)) | {"segments": dict(phase.segments)}
