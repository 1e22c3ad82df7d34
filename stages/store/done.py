"""The one place that decides whether a stage is done: by content, never by modification times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.store import attempts, lease, manifest, partials, seal
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError

State = Literal["done", "stale", "missing", "running", "failed"]


@dataclass(frozen=True)
class Verdict:
    """What is known of a stage; `why` is empty when it is done."""

    ref: str
    key: str
    state: State
    why: str
    step: int | None = None  # where a failed attempt stopped
    partial: Path | None = None  # the last valid checkpoint to resume from
    log: Path | None = None
    command: str | None = None  # what to type next

    @property
    def done(self) -> bool:
        """Whether the result in place is the wanted one."""
        return self.state == "done"


def is_done(layout: Layout, ref: str, key: str, parent_keys: Mapping[str, str], deep: bool = False) -> Verdict:
    """Judge a stage: done, running, failed, stale (and why) or missing. With `deep`, every digest is read again."""
    why = _why_not(layout, ref, key, parent_keys, deep)
    if why is None:
        return Verdict(ref, key, "done", "")
    held = lease.holder(layout.run(key))
    if held is not None:
        return Verdict(ref, key, "running", f"process {held.pid} on host {held.host}", log=layout.log(key))
    command = f"stages run {ref} --scale {layout.scale}"
    tried = attempts.folders(layout, key)
    if tried and (tried[0] / "result").exists():
        return _failed(layout, ref, key, tried[0], command, deep)
    state: State = "stale" if layout.stage(ref).exists() else "missing"
    return Verdict(ref, key, state, why, command=command)


def _failed(layout: Layout, ref: str, key: str, attempt: Path, command: str, deep: bool) -> Verdict:
    found = attempts.finding(attempt)
    parents = attempts.built_on(attempt) or {}
    partial = partials.latest(layout, key, parents)
    why = found.message if found else "interrupted before it finished"
    if deep:
        broken = [p for folder in partials.built_on(layout, key, parents) for p in partials.problems(folder)]
        why = "; ".join([why, *map(str, broken)])
        if broken:
            why += f"; damaged checkpoints are not used: `{command}` goes on from the last whole one, or from the start"
    step = found.step if found else (partials.step_of(partial) if partial else None)
    return Verdict(ref, key, "failed", why, step, partial, layout.log(key), command)


def _why_not(layout: Layout, ref: str, key: str, parent_keys: Mapping[str, str], deep: bool) -> str | None:
    """Why the result in place is not the wanted one, or None if it is."""
    if not layout.stage(ref).exists():
        return "not run yet"
    try:
        record = manifest.read(layout.manifest(ref))
    except ManifestError as error:
        broken = seal.problems(layout.stage(ref)) if deep else []
        return "; ".join(filter(None, [str(error), _damage(layout, ref, broken)]))
    if deep and (broken := seal.problems(layout.stage(ref))):  # first: a damaged manifest must not be believed
        return _damage(layout, ref, [*broken, *manifest.problems(layout.stage(ref), record, deep)])
    if record.stage != ref:
        return f"its manifest is that of {record.stage}"
    if record.key != key:
        return f"its spec, a parent or the data changed: key {record.key[:12]}, wanted {key[:12]}"
    changed = _changed_parent(layout, record, parent_keys)
    if changed:
        return changed
    return _damage(layout, ref, manifest.problems(layout.stage(ref), record, deep))


def _damage(layout: Layout, ref: str, found: list[manifest.Problem]) -> str | None:
    """Each damaged file, and what rebuilds it."""
    return "; ".join([*map(str, found), f"`stages run {ref} --scale {layout.scale}` rebuilds it"]) if found else None


def _changed_parent(layout: Layout, record: Manifest, parent_keys: Mapping[str, str]) -> str | None:
    if set(record.parents) != set(parent_keys):
        return f"its parents were {sorted(record.parents)}, wanted {sorted(parent_keys)}"
    for parent, built_on in record.parents.items():
        try:
            _, digest = manifest.read_with_digest(layout.manifest(parent))
        except ManifestError:
            return f"parent {parent} is not there"
        if digest != built_on.manifest:
            return f"parent {parent} was run again with another result"
    return None
