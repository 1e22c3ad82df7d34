"""Random kills: a stage is killed and run again, up to three times, and then compared with its undisturbed twin."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stages.store import done, finish, manifest
from stages.store.layout import Layout
from stages.train.checkpoint import CHECKSUMS, METRICS
from tests.faults import cases
from tests.faults.cases import SCALE, Case
from tests.faults.defects import DEFECTS
from tests.faults.fork_server import LIMIT, ForkServer, Ran
from tests.faults.victim import Job
from tests.unit.data.small import Small

MOMENTS = 0.5  # share of kills at a moment; the others are at a change of the disk
CHAIN = 3  # kills of one stage at most, before it is left alone


class SeenError(AssertionError):
    """A kill was seen in what it left."""


@dataclass(frozen=True)
class Plan:
    """A kill at the n-th change of the disk in a place, or after so many seconds."""

    place: str = ""
    at: int = 0
    seconds: float = LIMIT


@dataclass(frozen=True)
class Whole:
    """An undisturbed run of a case: what a killed one is compared with, and where it can be killed."""

    case: Case
    root: Path  # with everything that the stage is built on
    manifest: bytes
    metrics: bytes | None
    checksums: bytes | None
    seconds: float
    changes: dict[str, int]


class Kill(NamedTuple):
    """A process that was met alive: its case, where it was, and whether it died at a moment or at a change."""

    name: str
    place: str
    how: str


@dataclass
class Tally:
    """What was done and seen."""

    kills: list[Kill] = field(default_factory=list)
    redone: list[int] = field(default_factory=list)  # finished steps computed again, by resumption
    chains: int = 0


class Killer:
    """Kills stages in a folder of its own; with `background`, they write checkpoints while they go on training."""

    def __init__(self, folder: Path, small: Small, background: bool = False) -> None:
        self.folder, self.small, self.server, self.tally = folder, small, ForkServer(), Tally()
        self.background = background
        self._wholes: dict[str, Whole] = {}

    def whole(self, name: str) -> Whole:
        """The undisturbed run of a case, made once."""
        if name not in self._wholes:
            case = cases.make(name, self.small)
            base = self.folder / name / "base"
            case = cases.lay(case, base, self.small, lambda earlier: self._finish(earlier, base))
            root = self._copy(base, self.folder / name / "whole")
            ran = self._finish(case, root)
            rows = [int(row["step"]) for row in _rows(root, case)]
            if rows != list(range(1, ran.reached + 1)):
                raise SeenError(f"{name}: an undisturbed run has the rows {rows} after {ran.reached} steps")
            found = _manifest(root, case), _metrics(root, case), _metrics(root, case, CHECKSUMS)
            self._wholes[name] = Whole(case, base, *found, ran.seconds, ran.changes)
        return self._wholes[name]

    def seen(self, defect: str) -> int:
        """How many kills it took until a defect was seen that an undisturbed run does not show.

        Each kill is at another change of the disk in the defect's place, in an order that is drawn. Raises SeenError
        where no kill is needed, and AssertionError where none helps.
        """
        name, place, *_ = DEFECTS[defect]
        self.chain(name, [], defect)
        changes = [plan for plan in self.every_change(name) if plan.place == place]
        random.Random(defect).shuffle(changes)
        for kills, plan in enumerate(changes, 1):
            try:
                self.chain(name, [plan], defect)
            except SeenError:
                return kills
        raise AssertionError(f"{defect}: not seen after {len(changes)} kills")

    def chain(self, name: str, plans: Sequence[Plan], defect: str = "") -> int:
        """Kill a case as planned, one kill after the other, then let it finish; how many of the kills met it alive.

        Raises SeenError where the result, or what a kill leaves, is not as if nothing had happened.
        """
        whole = self.whole(name)
        self.tally.chains += 1
        root = self._copy(whole.root, self.folder / name / f"chain-{self.tally.chains}")
        had: int | None = None  # steps that were finished so far
        for kills, plan in enumerate([*plans, Plan()]):
            ran = self.server.run(self._job(whole.case, root, plan.place, plan.at, defect), plan.seconds)
            had = self._count(whole, ran, had)
            if not ran.killed:
                break
            if kills == len(plans):
                raise SeenError(f"{name}: did not end within {LIMIT:.0f} s after kills: {_said(root)}")
            self.tally.kills.append(Kill(name, ran.place, "change" if plan.at else "moment"))
            _look(whole, root)
        if ran.code:
            raise SeenError(f"{name}: exit code {ran.code} after {kills} kills: {_said(root)}")
        _compare(whole, root)
        shutil.rmtree(root)
        return kills

    def draw(self, name: str, draw: random.Random) -> list[Plan]:
        """One kill to three: at a moment of the whole run, or at a change of the disk in any of its places."""
        whole, plans = self.whole(name), []
        for _ in range(draw.randint(1, CHAIN)):
            if draw.random() < MOMENTS:
                plans.append(Plan(seconds=draw.uniform(0, whole.seconds)))
            else:
                place = draw.choice(sorted(whole.changes))
                plans.append(Plan(place, draw.randint(1, whole.changes[place])))
        return plans

    def every_change(self, name: str) -> list[Plan]:
        """A kill at each change of the disk that an undisturbed run makes."""
        return [Plan(place, at) for place, count in self.whole(name).changes.items() for at in range(1, count + 1)]

    def _count(self, whole: Whole, ran: Ran, had: int | None) -> int | None:
        """Steps that are finished after this run, of which a later one may redo one checkpoint interval at most; two
        where the next checkpoint may be due before this one is in place.
        """
        began = ran.began_at
        if had is None or not whole.case.stage.phases:
            return ran.reached
        if began is None:
            if not ran.killed:
                self.tally.redone.append(0)  # the result was there
            return had
        every = whole.case.stage.execution.checkpoint_every * (2 if self.background else 1)
        if not 0 <= had - began <= every:
            raise SeenError(f"{whole.case.ref}: {had} steps were finished, a rerun began after {began}")
        self.tally.redone.append(had - began)
        return max(began, ran.reached)

    def _finish(self, case: Case, root: Path) -> Ran:
        ran = self.server.run(self._job(case, root))
        if ran.code:
            raise SeenError(f"{case.ref}: exit code {ran.code} without a kill: {_said(root)}")
        return ran

    def _job(self, case: Case, root: Path, place: str = "", at: int = 0, defect: str = "") -> Job:
        return Job(case, root, place, at, defect, self.background)

    @staticmethod
    def _copy(source: Path, target: Path) -> Path:
        shutil.copytree(source, target, symlinks=True)
        return target


def _look(whole: Whole, root: Path) -> None:
    """What is in place after a kill is a whole result, this one or the earlier one, or nothing."""
    case, layout = whole.case, Layout(root, SCALE)
    if case.earlier is not None and not _not_done(Case(case.earlier), layout):
        return
    if layout.stage(case.ref).exists() and (why := _not_done(case, layout)):
        raise SeenError(f"{case.ref}: a kill left in place what is not whole: {why}")


def _compare(whole: Whole, root: Path) -> None:
    """The result is that of the undisturbed run, every digest read again, and marked as done."""
    case, layout = whole.case, Layout(root, SCALE)
    if why := _not_done(case, layout):
        raise SeenError(f"{case.ref}: not done: {why}")
    if _metrics(root, case) != whole.metrics:
        raise SeenError(f"{case.ref}: other rows: steps {[row['step'] for row in _rows(root, case)]}")
    if _metrics(root, case, CHECKSUMS) != whole.checksums:
        raise SeenError(f"{case.ref}: other checksums of its steps")
    if _manifest(root, case) != whole.manifest:
        old, new = (manifest.Manifest.model_validate_json(text) for text in (whole.manifest, _manifest(root, case)))
        differing = sorted(shard.file for shard in set(old.shards) ^ set(new.shards))
        raise SeenError(f"{case.ref}: other digests: {', '.join(dict.fromkeys(differing)) or 'none of shards'}")
    if not layout.marker(case.ref, case.key).exists():
        raise SeenError(f"{case.ref}: not marked as done")
    if case.earlier is not None and not finish.restore(layout, case.ref, Case(case.earlier).key, {}):
        raise SeenError(f"{case.ref}: the earlier result is lost")


def _not_done(case: Case, layout: Layout) -> str:
    parents = {parent: case.keys[parent] for parent in case.stage.parents}
    return done.is_done(layout, case.ref, case.key, parents, deep=True).why


def _manifest(root: Path, case: Case) -> bytes:
    return Layout(root, SCALE).manifest(case.ref).read_bytes()


def _metrics(root: Path, case: Case, name: str = METRICS) -> bytes | None:
    path = Layout(root, SCALE).stage(case.ref) / name
    return path.read_bytes() if path.exists() else None


def _rows(root: Path, case: Case) -> list[dict[str, str]]:
    return list(csv.DictReader((_metrics(root, case) or b"").decode().splitlines()))


def _said(root: Path) -> str:
    return " | ".join((root / "said").read_text().strip().splitlines()[-3:])
