"""`stages upgrade`: the base of a project as the installed version has it; what the user edited is never overwritten.

As dpkg does with conffiles: the record has the digest of each file as a version wrote it. A file that is still so is
replaced. One that is not was edited, and is left; where the version changed it too, the new one is put next to it. A
call that is killed leaves whole files and the old record, and the next call does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages import __version__
from stages.errors import UserError
from stages.scaffold import contents, record
from stages.store import files, trees
from stages.store.digest import digest_bytes

NEW = ".new"  # added to the name of a file that was edited here and changed by the version
Kind = Literal["wrote", "replaced", "removed", "edited", "missing", "obsolete"]


@dataclass(frozen=True)
class Change:
    """What becomes of a file; `old` and `new` are None where there is none.

    wrote, replaced, removed: done. edited: both changed it, so the new one is next to it. missing: it was removed here,
    and is not written again. obsolete: it was edited here, and the version has none; it is left.
    """

    path: str
    kind: Kind
    old: bytes | None
    new: bytes | None

    @property
    def left(self) -> bool:
        """Whether the user has something to decide."""
        return self.kind in ("edited", "missing", "obsolete")


def upgrade(root: Path, force: bool = False) -> list[Change]:
    """Write the base of the installed version, over edits only with `force`. Returns what changed and what was left.

    Raises UserError for a path that leads out of the project, and WriteError.
    """
    kept, base = record.known(root), contents.base()
    then = kept.files if kept else {}
    found = [_forced(one) if force else one for one in changes(root, then, base)]
    for path in {one.path for one in found}:
        _refuse_outside(root, path)
    for one in found:
        _carry_out(root, one)
    digests = {path: digest_bytes(content) for path, content in base.items()}
    if kept is None or (kept.stages, kept.files) != (__version__, digests):
        files.write_atomic(root / record.NAME, record.encoded(__version__, digests))
    return found


def changes(root: Path, then: Mapping[str, str], base: Mapping[str, bytes]) -> Iterator[Change]:
    """What an upgrade does: `then` is path -> digest as the last version wrote it, `base` what this one has."""
    for path, new in base.items():
        here, wrote = _here(root, path), then.get(path)
        if here == new or wrote == digest_bytes(new):
            continue  # as it should be, or only the user changed it
        if here is None:
            yield Change(path, "wrote" if wrote is None else "missing", None, new)
        else:
            yield Change(path, "replaced" if wrote == digest_bytes(here) else "edited", here, new)
    for path in sorted(then.keys() - base.keys() - set(contents.USERS)):
        here = _here(root, path)
        if here is not None:
            yield Change(path, "removed" if then[path] == digest_bytes(here) else "obsolete", here, None)


def _forced(change: Change) -> Change:
    done: dict[Kind, Kind] = {"edited": "replaced", "missing": "wrote", "obsolete": "removed"}
    return Change(change.path, done.get(change.kind, change.kind), change.old, change.new)


def _carry_out(root: Path, change: Change) -> None:
    path = root / change.path
    match change.kind:
        case "wrote" | "replaced":
            _write(path, change)
        case "edited":
            _write(path.with_name(f"{path.name}{NEW}"), change)
        case "removed":
            with files.failing(path):
                trees.remove_tree(path)


def _write(path: Path, change: Change) -> None:
    files.write_atomic(path, change.new or b"")
    if change.path in contents.EXECUTABLE:
        path.chmod(0o755)


def _here(root: Path, path: str) -> bytes | None:
    """What a file of the project contains; None where there is none. Raises UserError for what is no file."""
    place = root / path
    if not place.exists() and not place.is_symlink():
        return None
    if not place.is_file():
        raise UserError(f"{path}: not a file; allowed: the file that `stages init` wrote. Remove what is there.")
    return place.read_bytes()


def _refuse_outside(root: Path, path: str) -> None:
    """Raise UserError where a file would be written through a link that leads out of the project."""
    if not (root / path).parent.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path}: leads out of the project; allowed: a directory inside of it. Nothing was written.")
