"""Disks that fail, die or forget, for `files.disk`.

Recorder: logs every change and rebuilds what a power cut may leave. The model is harsher than a journaling file system:
any one of the changes of names that were not flushed may be lost, or all after one of them, and a file that was not
flushed may be empty, cut in half, or whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.store.disk import Disk


class PowerCutError(BaseException):
    """The process is gone: nothing may catch this."""


class Failing(Disk):
    """Raises an error at the n-th change, and at every later one if `lasting`; `code` None means that power is cut."""

    def __init__(self, at: int, code: int | None, lasting: bool, after: bool = False, short: bool = False) -> None:
        self.count, self.at, self.code, self.lasting, self.after, self.short = 0, at, code, lasting, after, short

    def _due(self) -> bool:
        return self.count == self.at or (self.lasting and self.count > self.at)

    def _raise(self) -> None:
        if self.code is None:
            raise PowerCutError
        raise OSError(self.code, os.strerror(self.code))

    def _step(self, call, *arguments):  # type: ignore[no-untyped-def]
        self.count += 1
        if self._due() and not (self.after and self.count == self.at):
            self._raise()
        result = call(*arguments)
        if self._due():
            self._raise()
        return result

    def create(self, path: Path, exclusive: bool = False) -> int:
        return self._step(super().create, path, exclusive)

    def write(self, handle: int, data: memoryview) -> int:
        return self._step(super().write, handle, data[:1] if self.short else data)

    def fsync(self, handle: int) -> None:
        self._step(super().fsync, handle)

    def rename(self, source: Path, target: Path) -> None:
        self._step(super().rename, source, target)

    def mkdir(self, path: Path) -> None:
        self._step(super().mkdir, path)

    def unlink(self, path: Path) -> None:
        self._step(super().unlink, path)

    def rmdir(self, path: Path) -> None:
        self._step(super().rmdir, path)


@dataclass
class Node:
    """A file or folder. `flushed` is the file's content that is on the disk for certain."""

    folder: bool
    content: bytes = b""
    flushed: bytes | None = None


@dataclass
class Names:
    """Changes of names: (name removed, name added, what it names); sure ones are applied, the others may be lost."""

    sure: dict[str, Node] = field(default_factory=dict)
    pending: list[tuple[str | None, str | None, Node]] = field(default_factory=list)


class Recorder(Disk):
    """Passes everything on, and notes after every change which states a power cut could leave."""

    def __init__(self, root: Path) -> None:
        self.root, self.names, self.now = root, Names(), {".": Node(True)}
        self.names.sure["."] = self.now["."]
        self.handles: dict[int, str] = {}
        self.states: list[list[dict[str, bytes | None]]] = []

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _change(self, removed: str | None, added: str | None, node: Node) -> None:
        self.names.pending.append((removed, added, node))
        _apply(self.now, removed, added, node)
        self._cut()

    def create(self, path: Path, exclusive: bool = False) -> int:
        handle = super().create(path, exclusive)
        self.handles[handle] = self._name(path)
        self._change(None, self._name(path), Node(False))
        return handle

    def write(self, handle: int, data: memoryview) -> int:
        count = super().write(handle, data)
        self.now[self.handles[handle]].content += bytes(data[:count])
        self._cut()
        return count

    def open(self, path: Path) -> int:
        handle = super().open(path)
        self.handles[handle] = self._name(path)
        return handle

    def fsync(self, handle: int) -> None:
        super().fsync(handle)
        name = self.handles[handle]
        node = self.now[name]
        if node.folder:
            self._flush_names(name)
        else:
            node.flushed = node.content
        self._cut()

    def _flush_names(self, folder: str) -> None:
        """Changes in this folder are sure now; a rename over two folders is one change, sure once either is flushed."""
        left = []
        for removed, added, node in self.names.pending:
            if folder in {os.path.dirname(name) or "." for name in (removed, added) if name}:
                _apply(self.names.sure, removed, added, node)
            else:
                left.append((removed, added, node))
        self.names.pending = left

    def close(self, handle: int) -> None:
        super().close(handle)
        del self.handles[handle]

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._change(self._name(source), self._name(target), self.now[self._name(source)])

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._change(None, self._name(path), Node(True))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._change(self._name(path), None, self.now[self._name(path)])

    def rmdir(self, path: Path) -> None:
        self.unlink_folder(path)

    def unlink_folder(self, path: Path) -> None:
        super().rmdir(path)
        self._change(self._name(path), None, self.now[self._name(path)])

    def _cut(self) -> None:
        """The states that a power cut at this moment could leave."""
        pending = self.names.pending
        kept = [pending[:count] for count in range(len(pending) + 1)]
        kept += [[*pending[:lost], *pending[lost + 1 :]] for lost in range(len(pending))]
        found: list[dict[str, bytes | None]] = []
        for changes in kept:
            tree = dict(self.names.sure)
            for change in changes:
                _apply(tree, *change)
            found += [state for state in _contents(tree) if state not in found]
        self.states.append(found)

    def crash_states(self) -> Iterator[tuple[int, dict[str, bytes | None]]]:
        """(number of changes made, files and folders (None) left), each different state once."""
        seen: set[frozenset[tuple[str, bytes | None]]] = set()
        for point, states in enumerate(self.states, 1):
            for state in states:
                known = frozenset(state.items())
                if known not in seen:
                    seen.add(known)
                    yield point, state


def _apply(tree: dict[str, Node], removed: str | None, added: str | None, node: Node) -> None:
    """Make one change of names, unless what it needs was lost."""
    if removed is not None and removed not in tree:
        return
    if added is not None and (os.path.dirname(added) or ".") not in tree:
        return
    moved = {name: tree.pop(name) for name in list(tree) if removed and (name == removed or _inside(name, removed))}
    if added is not None:
        tree[added] = node
        for name, inner in moved.items():
            if removed and name != removed:
                tree[added + name[len(removed) :]] = inner


def _inside(name: str, folder: str) -> bool:
    return name.startswith(folder + "/")


def _contents(tree: dict[str, Node]) -> Iterator[dict[str, bytes | None]]:
    for half in (0, 1, 2):  # none, half and all of what was not flushed
        yield {
            name: None
            if node.folder
            else node.content
            if node.flushed == node.content
            else node.content[: len(node.content) * half // 2]
            for name, node in tree.items()
        }


def build(root: Path, state: dict[str, bytes | None]) -> None:
    """Make a state real in a new folder."""
    for name, content in sorted(state.items()):
        if content is None:
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).write_bytes(content)
