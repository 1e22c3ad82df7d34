"""Results that DVC has recorded and that are not in this folder, as in a fresh clone: they may be had without training.

dvc.lock lists results by path and digest. Whether one is of the specs as they are now, DVC alone knows: `dvc status`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from stages.store.done import Verdict
from stages.store.layout import Layout

LOCK = "dvc.lock"
_PATH = re.compile(r"^ *- path: (results/\S+)$", re.MULTILINE)  # the file has a line for each, and ten thousand others


def note(root: Path, layout: Layout, verdicts: Iterable[Verdict]) -> list[str]:
    """A line where dvc.lock has some of the results that are missing, and their folders are not here; else none."""
    lock = root / LOCK
    missing = [layout.stage(one.ref) for one in verdicts if one.state == "missing"]
    absent = [str(folder.relative_to(root)) for folder in missing if not folder.exists()]
    if not absent or not lock.is_file():
        return []
    recorded = set(_PATH.findall(lock.read_text(encoding="utf-8", errors="replace")))
    count = sum(path in recorded for path in absent)
    if count == 0:
        return []
    what = "1 result that is missing is" if count == 1 else f"{count} results that are missing are"
    return [
        f"{what} recorded in {LOCK}: `dvc pull` fetches from a remote, before anything is trained again; where the "
        "remote lacks some, `dvc checkout --allow-missing` puts in place what came"
    ]
