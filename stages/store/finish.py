"""Putting a result in place, and back: renames only, so that nothing finished is ever lost or half there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.store import attempts, built_on, damage, files, manifest, mounts, seal, trees
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError, Parent


def finish(attempt: attempts.Attempt, record: Manifest) -> str:
    """Write seal and manifest into the attempt's result, put the result in place, return the manifest's digest.

    The order is the commit: files flushed, manifest last, then the right to finish, then the rename. A previous result
    is moved back under its own key. Raises LeaseError when a later run has taken over meanwhile, WriteError when the
    disk refuses.
    """
    folder = attempt.result
    seal.write(folder, manifest.NAME, manifest.encode(record), record, written=attempt.written)
    with files.failing(folder):
        trees.fsync_tree(folder)
    digest = manifest.write(folder, record)
    attempt.claim()
    put_in_place(attempt.layout, attempt.ref, attempt.result)  # which is looked through once more for links
    return digest


def put_in_place(layout: Layout, ref: str, folder: Path) -> None:
    """Rename a complete result to where it belongs, having moved away what was there.

    Raises WriteError, and UserError where a link is there, which stays.
    """
    place = layout.stage(ref)
    mounts.refuse_link(place)
    with files.failing(place):
        files.make_dirs(place.parent)
        while True:
            if place.exists():
                _move_back(layout, place)
            if trees.moved(folder, place):
                return
            if not place.exists() and not folder.exists():
                raise files.WriteError(f"{folder}: is gone before it could be put in place. Run the stage again.")


def restore(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent]) -> bool:
    """Put an earlier result of `key`, built on the same parents, back in place; False if there is none that is whole.

    Also finds a result that was complete when its run was killed between the two renames of a finish. The digests are
    read in full: of what was put aside, a size is not enough.
    """
    for folder in candidates(layout, key):
        try:
            record = manifest.read(folder / manifest.NAME)
        except ManifestError:
            continue
        same = record.key == key and record.stage == ref and built_on.same(layout, record.parents, parents)
        sealed = (folder / seal.NAME).is_file()  # results of before there were seals have none
        if same and not manifest.problems(folder, record, deep=True) and not (sealed and seal.problems(folder)):
            damage.note(folder, "")  # what an earlier check noted has been repaired
            put_in_place(layout, ref, folder)
            return True
    return False


def candidates(layout: Layout, key: str) -> list[Path]:
    """Folders that may contain a whole result of `key` that is not in place, the latest first."""
    left = [attempt / "result" for attempt in attempts.folders(layout, key)]
    found = [*sorted(layout.run(key).glob("final*"), reverse=True), *left]
    return [folder for folder in found if folder.is_dir() and not folder.is_symlink()]


def _move_back(layout: Layout, place: Path) -> None:
    """To results/.runs/<its key>/final, or, without a manifest that says the key, to results/.runs/unknown."""
    run = mounts.aside(layout, place)
    files.make_dirs(run)
    target, number = run / "final", 1
    while target.exists() or not trees.moved(place, target):
        if not place.exists():
            return  # a run of the same stage under another key has just moved it
        number += 1
        target = run / f"final-{number:04d}"
