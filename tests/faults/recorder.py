"""A disk that forgets: it rebuilds every state that a power cut may leave, from the calls that were made on it.

The model is harsher than a journaling file system. A file that was not flushed may be empty, as it was last flushed,
cut in half, or whole. Each folder has its own list of names, and only flushing that folder makes its changes sure: of
those that are not, any single one may be lost, or all after one of them. A rename within a folder is one change. Over
two folders it is two: the new name appears in one, the old one goes in the other. Of their own accord they reach the
disk in this order, so that the file may be under both names: file systems keep to it ("never reset the old pointer to a
live resource before the new pointer has been set", Ganger et al. 2000, "Soft updates"), and no program could guard
against the other order. But flushing the folder that it left makes only its going sure: then it may be under none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.store.disk import Disk

State = dict[str, bytes | None]  # files by path, with their content; folders are None


@dataclass(eq=False)
class File:
    """A file's content as a reader sees it now, and as it is on the disk for certain (None: nothing is)."""

    content: bytes = b""
    flushed: bytes | None = None

    def left(self) -> tuple[bytes, ...]:
        """What a power cut may leave of it."""
        if self.flushed == self.content:
            return (self.content,) * 4
        return b"", self.flushed or b"", self.content[: len(self.content) // 2], self.content


@dataclass(eq=False)
class Folder:
    """A folder's names as a reader sees them now, and those that are on the disk for certain."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    sure: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Change:
    """In one folder's list: a name goes, a name comes (and means `node`). `first`: what the disk writes before it."""

    folder: Folder
    gone: str | None
    name: str | None
    node: File | Folder
    first: Change | None = None

    def apply(self, names: dict[str, File | Folder]) -> None:
        """Make the change, unless what it needs was lost."""
        if self.gone is not None and names.pop(self.gone, None) is None:
            return
        if self.name is not None:
            names[self.name] = self.node


class Recorder(Disk):
    """Passes everything on, and notes after every change which states a power cut could leave."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Folder()
        self.pending: list[Change] = []  # in the order of time
        self.handles: dict[int, File | Folder] = {}
        self.states: list[list[State]] = []

    def create(self, path: Path, exclusive: bool = False) -> int:
        handle = super().create(path, exclusive)
        folder = self._folder(path.parent)
        file = folder.now.get(path.name)
        if isinstance(file, File):
            file.content = b""  # emptied: its name stays
            self._cut()
        else:
            file = File()
            self._change(Change(folder, None, path.name, file))
        self.handles[handle] = file
        return handle

    def append(self, path: Path) -> int:
        handle = super().append(path)
        folder = self._folder(path.parent)
        if path.name not in folder.now:
            self._change(Change(folder, None, path.name, File()))
        self.handles[handle] = folder.now[path.name]
        return handle

    def write(self, handle: int, data: memoryview) -> int:
        count = super().write(handle, data)
        file = self.handles[handle]
        assert isinstance(file, File)
        file.content += bytes(data[:count])
        self._cut()
        return count

    def open(self, path: Path) -> int:
        handle = super().open(path)
        self.handles[handle] = self._node(path)
        return handle

    def fsync(self, handle: int) -> None:
        super().fsync(handle)
        node = self.handles[handle]
        if isinstance(node, File):
            node.flushed = node.content
        else:
            for change in self.pending:
                if change.folder is node:
                    change.apply(node.sure)
            self.pending = [change for change in self.pending if change.folder is not node]
        self._cut()

    def close(self, handle: int) -> None:
        super().close(handle)
        del self.handles[handle]

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        left, entered, node = self._folder(source.parent), self._folder(target.parent), self._node(source)
        if left is entered:
            self._change(Change(left, source.name, target.name, node))
        else:
            arrival = Change(entered, None, target.name, node)
            self._change(arrival, Change(left, source.name, None, node, first=arrival))

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._change(Change(self._folder(path.parent), None, path.name, Folder()))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._change(Change(self._folder(path.parent), path.name, None, self._node(path)))

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._change(Change(self._folder(path.parent), path.name, None, self._node(path)))

    def _node(self, path: Path) -> File | Folder:
        node: File | Folder = self.top
        for part in path.relative_to(self.root).parts:
            assert isinstance(node, Folder)
            assert part in node.now, f"{path} was written past the disk"
            node = node.now[part]
        return node

    def _folder(self, path: Path) -> Folder:
        node = self._node(path)
        assert isinstance(node, Folder)
        return node

    def _change(self, *changes: Change) -> None:
        for change in changes:
            change.apply(change.folder.now)
        self.pending += changes
        self._cut()

    def _cut(self) -> None:
        """The states that a power cut at this moment could leave."""
        kept = [self.pending[:count] for count in range(len(self.pending) + 1)]
        kept += [[c for c in self.pending if c is not lost and c.first is not lost] for lost in self.pending]
        found: list[State] = []
        for changes in kept:
            for how in range(4):
                state = dict(_tree(self.top, changes, how, ""))
                if state not in found:
                    found.append(state)
        self.states.append(found)

    def crash_states(self) -> Iterator[tuple[int, State]]:
        """(number of changes made, what is left), each different state once."""
        seen: set[frozenset[tuple[str, bytes | None]]] = set()
        for point, states in enumerate(self.states, 1):
            for state in states:
                known = frozenset(state.items())
                if known not in seen:
                    seen.add(known)
                    yield point, state


def _tree(folder: Folder, kept: Sequence[Change], how: int, prefix: str) -> Iterator[tuple[str, bytes | None]]:
    names = dict(folder.sure)
    for change in kept:
        if change.folder is folder:
            change.apply(names)
    for name, node in names.items():
        if isinstance(node, File):
            yield prefix + name, node.left()[how]
        else:
            yield prefix + name, None
            yield from _tree(node, kept, how, f"{prefix}{name}/")


def build(root: Path, state: State) -> None:
    """Make a state real in a new folder."""
    for name, content in sorted(state.items()):
        if content is None:
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).write_bytes(content)
