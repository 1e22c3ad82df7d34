"""The pieces in which the code is mutated: for each, its modules and the tests that are run on their mutants.

A mutant that survives costs the time of all tests that reach its function. So a piece has the tests that say what its
modules do, and not those that only pass through them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    """Modules by pattern below stages/, and paths of tests below tests/.

    `without`: tests among these that try hundreds of cases, or read the code as text, where all mutants of a module
    stand beside each other.
    """

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()

    def sources(self, root: Path) -> list[str]:
        """The modules there are, as paths from the project's root, less those of the pieces before this one.

        Those without a line of code are left out.
        """
        taken = {module for piece in PIECES[: PIECES.index(self)] for module in piece.sources(root)}
        found = [path for pattern in self.modules for path in sorted((root / "stages").glob(pattern))]
        return [
            str(path.relative_to(root))
            for path in found
            if path.stat().st_size and str(path.relative_to(root)) not in taken
        ]

    def selection(self) -> list[str]:
        """The tests, as pytest is given them."""
        return [f"tests/{test}" for test in self.tests]

    def digest(self, root: Path) -> str:
        """Of the text of the tests, and of what stands beside them: what they import is mostly there."""
        hasher = hashlib.sha256()
        for path in sorted({path for test in self.selection() for path in _read(root / test)}):
            hasher.update(path.read_bytes())
        return hasher.hexdigest()


def _read(test: Path) -> Iterator[Path]:
    """A folder's Python files, or a test's file and what is beside it that is no test."""
    if test.is_dir():
        yield from test.rglob("*.py")
    else:
        yield test
        yield from (path for path in test.parent.glob("*.py") if not path.name.startswith("test_"))


PIECES = (
    Piece("memory", ("contract/memory*.py", "contract/engines.py"), ("unit/contract/test_engines.py", "unit/plan")),
    Piece(
        "contract",
        ("contract/*.py",),
        (
            "unit/contract",
            "unit/plan",
            "property/test_ledger.py",
            "property/test_mixture.py",
            "property/test_order.py",
            "property/test_rope.py",
            "property/test_schedule.py",
        ),
    ),
    Piece(
        "files",
        (
            "store/digest.py",
            "store/disk.py",
            "store/files.py",
            "store/json_file.py",
            "store/layout.py",
            "store/mounts.py",
            "store/tensor_layout.py",
            "store/trees.py",
        ),
        (
            "unit/store/test_files.py",
            "unit/store/test_files_and_manifest.py",
            "unit/store/test_json_file.py",
            "unit/store/test_layout.py",
            "unit/store/test_trees.py",
            "unit/models/test_tensor_file.py",
            "unit/store/test_mounts.py",
            "faults/test_links.py",
        ),
        without=(
            "unit/store/test_json_file.py::test_nothing_else_reads_json_files_and_nothing_writes_what_is_not_finite",
        ),
    ),
    Piece(
        "runs",
        ("store/attempts.py", "store/holder.py", "store/lease.py", "store/partials.py", "store/progress.py"),
        (
            "unit/store/test_attempts.py",
            "unit/store/test_holder.py",
            "unit/store/test_lease.py",
            "unit/store/test_lease_numbers.py",
            "unit/store/test_partials.py",
            "unit/store/test_progress.py",
            "faults/test_attempts.py",
            "faults/test_two_runs.py",
        ),
    ),
    Piece(
        "results",
        ("store/*.py",),
        (
            "unit/store",
            "unit/report/test_fingerprint.py",
            "unit/sync/test_verdicts.py",
            "faults/test_gc.py",
            "faults/test_links.py",
            "faults/test_store.py",
            "faults/test_unlisted.py",
        ),
        without=("unit/store/test_json_file.py", "unit/store/test_lease.py", "unit/store/test_lease_numbers.py"),
    ),
    Piece(
        "rows",
        (
            "data/document.py",
            "data/draws.py",
            "data/loading/loader.py",
            "data/loading/packing.py",
            "data/loading/sample.py",
        ),
        ("unit/data", "property/test_document_order.py", "property/test_packing.py"),
    ),
    Piece(
        "optimizer",
        ("train/adamw.py", "train/muon.py", "train/optimizer.py", "train/reduce.py", "train/param_groups.py"),
        (
            "unit/train/test_optimizer.py",
            "unit/train/test_shards.py",
            "property/test_accumulation.py",
            "property/test_muon.py",
            "parity/test_muon.py",
        ),
    ),
    Piece("corpora", ("data/**/*.py",), ("unit/data",)),
    Piece("train", ("train/*.py", "train/objectives/*.py"), ("unit/train",)),
)
