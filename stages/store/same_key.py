"""Equal work under two names: one key, one result. What another name has is put in place as it is, without a run.

Files are shared as hard links, or copied where the file system has none: no file of a result is ever changed, only
replaced. stage.json is written again, since it names the stage; so is the seal, which covers it. The manifest stays,
with the name that the result was made under. Pointers and exports are left out: their content names stages, and they
are made in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from stages.spec.resolved import Stage
from stages.store import built_on, damage, evaluated, files, finish, manifest, run_record, seal, stage_record, trees
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError, Parent
from stages.store.revise import being_made, share

CARD = "README.md"


def in_place(layout: Layout) -> dict[str, list[tuple[str, Manifest]]]:
    """Key -> whole results that may be shared: "pipeline/stage" at this scale, "pipeline/stage@scale" at others."""
    found: dict[str, list[tuple[str, Manifest]]] = {}
    for folder, record in _results(layout):
        if _may_be_shared(record) and not damage.noted(folder) and not manifest.problems(folder, record, deep=False):
            found.setdefault(record.key, []).append((_name(layout, folder), record))
    return found


def take_over(layout: Layout, ref: str, key: str, parents: Mapping[str, Parent], stage: Stage) -> str | None:
    """Put a result of `key` that was made under another name in place as `ref`; under which name it was, or None.

    Every digest is read before. Raises WriteError when the disk refuses.
    """
    there = [folder for folder, record in _results(layout) if record.key == key and folder != layout.stage(ref)]
    for folder in [*there, *finish.candidates(layout, key)]:
        with being_made(layout, key) as temporary:
            record = _shared(layout, folder, temporary, key, parents)
            if record is None:
                continue
            later = seal.later(temporary, record)
            for file in _left_behind(temporary, record):
                files.disk.unlink(temporary / file)
            stage_record.write(temporary, stage)
            seal.write(temporary, manifest.NAME, manifest.encode(record), record, later)
            trees.fsync_tree(temporary)
            finish.put_in_place(layout, ref, temporary)
        return _name(layout, folder) if folder in there else record.stage
    return None


def _shared(layout: Layout, folder: Path, temporary: Path, key: str, parents: Mapping[str, Parent]) -> Manifest | None:
    """Share a result's files in a folder of their own; None if it is not whole, or not the wanted one."""
    with suppress(ManifestError, FileNotFoundError):  # it may be moved away meanwhile
        for file in trees.files_under(folder):
            share(folder / file, temporary / file)
        record = manifest.read(temporary / manifest.NAME)
        wanted = record.key == key and _may_be_shared(record) and built_on.same(layout, record.parents, parents)
        if wanted and not manifest.problems(temporary, record, deep=True) and not seal.problems(temporary):
            return record
    return None


def _left_behind(folder: Path, record: Manifest) -> list[str]:
    """What is of the other name, or of none: the seal, pictures, a note of damage."""
    kept = {shard.file for shard in record.shards} | {
        manifest.NAME,
        run_record.NAME,
        evaluated.RESULT,
        evaluated.NAME,
        "timing.csv",
        "checksums.csv",
    }
    return [file for file in trees.files_under(folder) if file not in kept]


def _results(layout: Layout) -> Iterator[tuple[Path, Manifest]]:
    """Every result in place, of all scales, this one first."""
    paths = sorted(layout.results.glob("[!.]*/*/*/manifest.json"))
    for path in sorted(paths, key=lambda path: path.parts[-4] != layout.scale):
        with suppress(ManifestError, OSError):  # a corpus, damaged, or closed to this user
            yield path.parent, manifest.read(path)


def _may_be_shared(record: Manifest) -> bool:
    return record.points_to is None and all(shard.file != CARD for shard in record.shards)


def _name(layout: Layout, folder: Path) -> str:
    scale, pipeline, stage = folder.parts[-3:]
    return f"{pipeline}/{stage}" if scale == layout.scale else f"{pipeline}/{stage}@{scale}"
