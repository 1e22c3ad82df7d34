"""The one place that decides whether a stage is done: by content, never by modification times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.store import attempts, crash, damage, lease, manifest, partials, progress, seal, unlisted
from stages.store.holder import Holder, suspended
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError, Parent
from stages.store.shards import Problem

State = Literal[
    "done", "unevaluated", "stale", "damaged", "unreadable", "missing", "pending", "running", "stopped", "failed"
]

# Of a run that left no finding.
KILLED = (
    "killed, or its machine went down (where nobody ended it, memory ran out: `dmesg` tells, and `stages plan` says "
    "what the stage takes)"
)


@dataclass(frozen=True)
class Verdict:
    """What is known of a stage; `why` is empty when it is done."""

    ref: str
    key: str
    state: State
    why: str
    step: int | None = None  # where an attempt ended, or how far a running one is
    partial: Path | None = None  # the last valid checkpoint to resume from
    log: Path | None = None
    command: str | None = None  # what to type next
    steps: int | None = None  # of a running stage, over all its phases
    seconds_left: float | None = None  # until its last step; None where it is unknown, or it takes longer than foreseen
    job: str | None = None  # the Slurm job that waits or runs
    repeats: bool = False  # a rerun of the same spec ends as the last run did
    damaged_checkpoints: bool = False  # a deep check found some, of a run that did not finish
    note: str = ""  # what a stage that is done lacks, since this machine cannot make it
    unlisted: tuple[Path, ...] = ()  # what a deep check found in the result's folder that nothing lists or reads

    @property
    def done(self) -> bool:
        """Whether the result in place is the wanted one."""
        return self.state == "done"


def is_done(layout: Layout, ref: str, key: str, parent_keys: Mapping[str, str], deep: bool = False) -> Verdict:
    """Judge a stage: done, running, stopped or failed (how, and where it goes on), stale or damaged (why), missing.

    With `deep`, every digest is read again, and what is found damaged stays known to quick looks.
    """
    found = _look(layout, ref, key, parent_keys, deep)
    if found.state == "done":
        return found
    holder = lease.holder(layout.run(key))
    if holder is not None:
        return _running(layout, ref, key, holder)
    tried = attempts.folders(layout, key)
    if tried and (tried[0] / "result").exists():
        return _ended(layout, ref, key, tried[0], _there(layout, parent_keys, tried[0]), deep)
    return found


def _running(layout: Layout, ref: str, key: str, holder: Holder) -> Verdict:
    where = f"job {holder.job} on {', '.join(holder.nodes)}" if holder.job else holder.process
    where += suspended(holder)
    far, log = progress.latest(layout, key), layout.log(key)
    if far is None:
        return Verdict(ref, key, "running", where, log=log, job=holder.job)
    left = far.seconds_left - max(0.0, time.time() - far.time)  # a clock that was set back since adds nothing
    return Verdict(
        ref, key, "running", where, far.step, log=log, steps=far.steps,
        seconds_left=left if left > 0 else None, job=holder.job,
    )  # fmt: skip


def _there(layout: Layout, parent_keys: Mapping[str, str], attempt: Path) -> Mapping[str, Parent]:
    """What a rerun would be built on, whose checkpoints alone it goes on from: the parents that are there, or, where
    one has to be made first, those of the attempt.
    """
    try:
        return manifest.parents(layout, parent_keys)
    except ManifestError:
        return attempts.built_on(attempt) or {}


def _ended(layout: Layout, ref: str, key: str, attempt: Path, parents: Mapping[str, Parent], deep: bool) -> Verdict:
    found, command = attempts.finding(attempt), layout.command(ref)
    partial = partials.latest(layout, key, parents)
    why = found.message if found else crash.described(attempt) or KILLED
    if partial is None and partials.latest(layout, key, attempts.built_on(attempt) or {}) is not None:
        why += "; its checkpoints were built on another result of a parent, so a rerun begins at the start"
    broken = []
    if deep:
        broken = [p for folder in partials.built_on(layout, key, parents) for p in partials.problems(folder)]
        why = "; ".join([why, *map(str, broken)])
        if broken:
            why += f"; damaged checkpoints are not used: `{command}` goes on from the last whole one, or from the start"
    step = found.step if found else (partials.step_of(partial) if partial else None)
    state: State = "stopped" if found and found.stopped else "failed"
    repeats = found is not None and found.repeats
    if repeats:
        command = f"stages show {ref} --scale {layout.scale}"
    return Verdict(
        ref, key, state, why, step, partial, layout.log(key), command, repeats=repeats, damaged_checkpoints=bool(broken)
    )


def _look(layout: Layout, ref: str, key: str, parent_keys: Mapping[str, str], deep: bool) -> Verdict:
    """The verdict on the result in place, whatever runs or ran elsewhere."""
    folder, command = layout.stage(ref), layout.command(ref)
    if not folder.exists():
        return Verdict(ref, key, "missing", "not run yet", command=command)
    try:
        record = manifest.read(layout.manifest(ref))
    except ManifestError as error:
        broken = seal.problems(folder) if deep else []
        why = "; ".join(filter(None, [str(error), _damage(layout, ref, broken)]))
        return Verdict(ref, key, "damaged", why, command=command)
    others = unlisted.files(folder, record) if deep else ()
    if deep:
        known = _damage(layout, ref, [*seal.problems(folder), *manifest.problems(folder, record, deep)])
        damage.note(folder, known)
    else:
        known = damage.noted(folder)
    # Damage comes first: a damaged manifest must not be believed.
    why = "" if known else _why_stale(layout, key, record, parent_keys)
    known = known or ("" if why else _damage(layout, ref, manifest.problems(folder, record, deep=False)))
    state: State = "damaged" if known else "stale" if why else "done"
    return Verdict(ref, key, state, known or why, command=command if known or why else None, unlisted=others)


def _why_stale(layout: Layout, key: str, record: Manifest, parent_keys: Mapping[str, str]) -> str:
    """Why a whole result is not the wanted one; empty if it is."""
    if record.key != key:
        return f"its spec, a parent or the data changed: key {record.key[:12]}, wanted {key[:12]}"
    return changed_parent(layout, record, parent_keys) or ""


def _damage(layout: Layout, ref: str, found: list[Problem]) -> str:
    """Each damaged file, and what rebuilds it; empty where none is."""
    return "; ".join([*map(str, found), f"`{layout.command(ref)}` rebuilds it"]) if found else ""


def rebuilds_otherwise(layout: Layout, ref: str, key: str, parent_keys: Mapping[str, str]) -> bool:
    """Whether a rerun of a stage that is not done gives another result than the one in place: its parents' are others.

    Not where it is damaged or gone: then a rerun under the same key gives the same bits.
    """
    try:
        record = manifest.read(layout.manifest(ref))
    except ManifestError:
        return False
    return record.key == key and changed_parent(layout, record, parent_keys) is not None


def changed_parent(layout: Layout, record: Manifest, parent_keys: Mapping[str, str]) -> str | None:
    """A parent whose result under its key is another one now.

    A parent that is not there, or is there under another key, contradicts nothing: it is to be rebuilt or put back.
    """
    keys = {ref: parent.key for ref, parent in record.parents.items()}
    if sorted(keys.values()) != sorted(parent_keys.values()):
        return f"its parents were {_listed(keys)}, wanted {_listed(parent_keys)}"
    for ref, key in parent_keys.items():
        try:
            now, of_bytes = manifest.read_with_digest(layout.manifest(ref))
        except ManifestError:
            continue
        if now.key == key and not any(manifest.is_parent(now, of_bytes, then) for then in record.parents.values()):
            return f"parent {ref} was run again with another result"
    return None


def _listed(keys: Mapping[str, str]) -> str:
    return ", ".join(f"{ref} (key {key[:12]})" for ref, key in sorted(keys.items())) or "none"
