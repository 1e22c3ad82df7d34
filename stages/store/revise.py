"""Replacing files of a result in place that its manifest has no digest of, such as evaluations made again.

A whole new folder takes the place of the old one by renames, its unchanged files shared: whatever stops in between,
the old result or the new one is there. The manifest stays as it is, so that children see the same parent; the seal
has the digests of what was replaced.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stages.store import damage, files, finish, manifest, seal, trees
from stages.store.layout import Layout


def replace(layout: Layout, ref: str, key: str, changes: Mapping[str, bytes]) -> None:
    """Put a result in place of itself with some files replaced; the caller holds the lease of its key.

    Raises ManifestError when its manifest cannot be read, WriteError when the disk refuses.
    """
    place = layout.stage(ref)
    record = manifest.read(place / manifest.NAME)
    aside = set(layout.run(key).glob("final*"))
    with being_made(layout, key) as temporary:
        for file in trees.files_under(place):
            if file not in (*changes, seal.NAME, damage.NAME):
                share(place / file, temporary / file)
        for file, data in changes.items():
            files.write_atomic(temporary / file, data)
        later = seal.later(place, record) | (changes.keys() & {shard.file for shard in record.shards})
        seal.write(temporary, manifest.NAME, manifest.encode(record), record, later)
        trees.fsync_tree(temporary)
        finish.put_in_place(layout, ref, temporary)
    for folder in set(layout.run(key).glob("final*")) - aside:
        with files.failing(folder):
            trees.remove_tree(folder)


@contextmanager
def being_made(layout: Layout, key: str) -> Iterator[Path]:
    """A folder in which to prepare a result of a key; removed at the end unless it was put in place."""
    temporary = files.temporary_name(layout.run(key) / "shared")
    with files.failing(temporary):
        trees.remove_tree(temporary)
        files.make_dirs(temporary)
        try:
            yield temporary
        finally:
            trees.remove_tree(temporary)


def share(source: Path, target: Path) -> None:
    """The same file at a second place: a hard link, or a copy where the file system has none. Raises OSError."""
    files.make_dirs(target.parent)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
