"""A large file is prepared by processes that are watched and killed: `python -m tests.faults.large_input --help`."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import rows
from stages.data.corpus.corpus_manifest import DataManifest, read_manifest
from stages.data.corpus.prepared import verify
from stages.data.files import pieces
from stages.data.preparing import prepare
from stages.store import files

ROOT = Path(__file__).resolve().parents[2]
PAUSE, MEMORY = 0.02, 0.25  # seconds between two looks at what is there, and two at the memory, which cost much more


@dataclass(frozen=True)
class Sizes:
    """How many processes encode, and the bytes of a piece that each takes at a time."""

    processes: int
    piece: int = pieces.PIECE


@dataclass(frozen=True)
class Watched:
    """One process tree: how long it lived, its largest PSS in bytes, and the most runs that it had; was it merging?"""

    seconds: float
    memory: int
    runs: int
    merging: bool


@dataclass(frozen=True)
class Moment:
    """When to kill: some seconds after there are so many runs, or when another is finished; or at the first sight of a
    merge. So it comes before the end, however fast this part is beside the one that the seconds were drawn from.
    """

    runs: int
    delay: float
    merging: bool = False


@dataclass(frozen=True)
class Outcome:
    """An undisturbed preparation, the parts of one that was killed, and what both came to."""

    size: int
    sizes: Sizes
    undisturbed: Watched
    parts: tuple[Watched, ...]  # the last one is not killed
    manifest: DataManifest


def compare(folder: Path, size: int, sizes: Sizes, kills: int, seed: int) -> Outcome:
    """Prepare `size` bytes once undisturbed and once killed `kills` times; both have to come to the same bytes.

    The last kill is in the merge, the moments of the others are drawn over the work before it.
    """
    root = folder / "project"
    file = rows.project(root, size)
    whole, killed = folder / "undisturbed" / rows.CORPUS, folder / "killed" / rows.CORPUS
    undisturbed = watch(root, whole, sizes, None)
    draw = random.Random(seed)
    targets = sorted(draw.randrange(undisturbed.runs * 3 // 4) for _ in range(kills - 1))
    moments = [Moment(runs, draw.uniform(0, undisturbed.seconds / undisturbed.runs)) for runs in targets]
    parts = []
    for moment in [*moments, Moment(undisturbed.runs, 0.0, merging=True)]:
        parts.append(watch(root, killed, sizes, moment))
        if killed.exists():  # killed when it was in place, and before its runs were removed
            assert not verify(killed, deep=True)
    parts.append(watch(root, killed, sizes, None))
    for one in (whole, killed):
        assert not verify(one, deep=True)
        assert sorted(path.name for path in one.parent.iterdir()) == [one.name]
    assert (whole / "manifest.json").read_bytes() == (killed / "manifest.json").read_bytes()
    return Outcome(file.stat().st_size, sizes, undisturbed, tuple(parts), read_manifest(killed))


def watch(root: Path, out: Path, sizes: Sizes, moment: Moment | None) -> Watched:
    """Prepare the corpus in a process tree of its own, and kill all of it at a moment, which has to come."""
    given = (str(root), str(out), str(sizes.processes), str(sizes.piece))
    kept = out.with_name(f".{out.name}.runs")
    began, due, memory, most, merging, looked = time.monotonic(), float("inf"), 0, 0, False, 0.0
    there = 0  # runs at the moment from which a delay counts
    with subprocess.Popen([sys.executable, "-m", "tests.faults.large_input", "prepare", *given], cwd=ROOT) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            most, merging = max(most, count(kept)), (kept / "lengths").exists()
            if time.monotonic() - looked > MEMORY:
                memory, looked = max(memory, pss(tree)), time.monotonic()
            if moment and due == float("inf") and (merging if moment.merging else most >= moment.runs):
                due, there = time.monotonic() + moment.delay, most
            if time.monotonic() >= due or (due < float("inf") and most > there):
                kill(tree)
                break
            time.sleep(PAUSE)
    assert process.returncode == (0 if moment is None else -signal.SIGKILL)
    return Watched(time.monotonic() - began, memory, most, merging)


def count(kept: Path) -> int:
    """How many runs are finished."""
    return sum(path.name[0].isdigit() for path in kept.iterdir()) if kept.is_dir() else 0


def pss(tree: psutil.Process) -> int:
    """Bytes of memory of a process and all below it; what several share is counted once."""
    total = 0
    for one in [tree, *children(tree)]:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += one.memory_full_info().pss
    return total


def children(tree: psutil.Process) -> list[psutil.Process]:
    """All processes below one."""
    with suppress(psutil.NoSuchProcess):
        return tree.children(recursive=True)
    return []


def kill(tree: psutil.Process) -> None:
    """SIGKILL a process and all below it, at once."""
    below = children(tree)
    for one in [tree, *below]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(below)


def prepared(root: Path, out: Path, sizes: Sizes) -> None:
    """What `stages data` does, in this process and those that it starts."""
    pieces.PIECE = sizes.piece
    prepare.prepare(root, rows.CORPUS, out, accept=True, processes=sizes.processes)


def main() -> None:
    if sys.argv[1:2] == ["prepare"]:
        root, out, *numbers = sys.argv[2:]
        prepared(Path(root), Path(out), Sizes(*map(int, numbers)))
        return
    from tests.faults import large_record

    parser = argparse.ArgumentParser(description="Prepare a large file, undisturbed and killed, and write the record.")
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), asked.megabytes * 10**6, Sizes(asked.processes), asked.kills, asked.seed)
    text = large_record.page(found)
    files.write_atomic(ROOT / large_record.PATH, text.encode())
    print(text)


if __name__ == "__main__":
    main()
