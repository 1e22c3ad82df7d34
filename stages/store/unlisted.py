"""Files in a result's folder that nothing lists: copies that a synchronisation made, stale shards, temporary files.

Nothing reads them. A deep check names them, so that they are not taken for a part of the result.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stages.store import damage, seal
from stages.store.json_file import JsonFileError

DRAWN = "plots"  # pictures are drawn, and drawn again, after a result is in place


def files(folder: Path, record: seal.Listing) -> tuple[Path, ...]:
    """What lies in a folder besides what its manifest and its seal list, sorted; a folder of such files is named once.

    Nothing where the seal cannot be read, which is damage and named as such: what it listed is not known.
    """
    try:
        sealed = seal.read(folder).files
    except JsonFileError:
        return ()
    listed = {*(shard.file for shard in record.shards), *sealed, seal.NAME, damage.NAME}
    above = {parent.as_posix() for file in listed for parent in Path(file).parents} | {DRAWN}
    return tuple(sorted(folder / name for name in _unlisted(folder, "", listed, above)))


def _unlisted(folder: Path, inside: str, listed: set[str], above: set[str]) -> Iterator[str]:
    with os.scandir(folder / inside) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if name not in above:
                    yield name
                elif name != DRAWN:
                    yield from _unlisted(folder, f"{name}/", listed, above)
            elif name not in listed:
                yield name
