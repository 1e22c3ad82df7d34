"""Putting a result in place, and back: renames only, so that nothing finished is ever lost or half there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stages.store import attempts, files, manifest
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError, Parent


def finish(attempt: attempts.Attempt, record: Manifest) -> str:
    """Write the manifest into the attempt's result, put the result in place, return the manifest's digest.

    A previous result is moved back under its own key. Raises LeaseError when the lease was lost meanwhile.
    """
    attempt.check_lease()
    files.fsync_tree(attempt.result)
    digest = manifest.write(attempt.result, record)
    put_in_place(attempt.layout, attempt.ref, attempt.result)
    return digest


def put_in_place(layout: Layout, ref: str, folder: Path) -> None:
    """Rename a complete result to where it belongs, having moved away what was there."""
    place = layout.stage(ref)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        _move_back(layout, place)
    os.rename(folder, place)
    files.fsync_dir(place.parent)
    files.fsync_dir(folder.parent)


def restore(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent]) -> bool:
    """Put an earlier result of `key`, built on the same parents, back in place; False if there is none that is whole.

    Also finds a result that was complete when its run was killed between the two renames of a finish. The digests are
    read in full: what has lain aside is not trusted on its size.
    """
    run = layout.run(key)
    left = [attempt / "result" for attempt in attempts.folders(layout, key)]
    for folder in [*sorted(run.glob("final*"), reverse=True), *left]:
        try:
            record = manifest.read(folder / manifest.NAME)
        except ManifestError:
            continue
        same = record.key == key and record.stage == ref and record.parents == dict(parents)
        if same and not manifest.problems(folder, record, deep=True):
            put_in_place(layout, ref, folder)
            return True
    return False


def _move_back(layout: Layout, place: Path) -> None:
    """To results/.runs/<its key>/final, or, without a manifest that says the key, to results/.runs/unknown."""
    try:
        run = layout.run(manifest.read(place / manifest.NAME).key)
    except ManifestError:
        run = layout.run("unknown")
    run.mkdir(parents=True, exist_ok=True)
    target, number = run / "final", 1
    while target.exists():
        number += 1
        target = run / f"final-{number:04d}"
    os.rename(place, target)
    files.fsync_dir(run)
