"""`stages gc`: say what may go under results/.runs, and remove it when asked to."""

from __future__ import annotations

from pathlib import Path

from stages.errors import UsageError
from stages.printable import printable
from stages.store import garbage
from stages.store.layout import Layout


def collect(dry_run: bool, delete: bool, keep: int) -> None:
    """List folders with their bytes and why they may go; with `delete`, remove them. Raises UsageError, LeaseError."""
    if dry_run == delete:
        raise UsageError("stages gc: say either --dry-run (list) or --delete (remove).")
    root = Path.cwd()
    found = garbage.find(Layout(root, "mini"), keep)
    for item in found:
        if delete:
            garbage.remove(item)
        print(f"{item.bytes:>15,} bytes  {printable(f'{item.folder.relative_to(root)}: {item.why}')}")
    total = sum(item.bytes for item in found)
    print(f"{total:>15,} bytes in {len(found)} folders {'removed' if delete else 'would go'}")
