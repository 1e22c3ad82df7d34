"""WebDataset tars: members that follow one another and have one name up to its first dot are a sample.

Nothing is extracted: members are read one after the other, into memory, each of bounded size. Python's tarfile stops
silently at a header that it cannot read, so what lies behind the last member is read as well.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from stages.data.files.pieces import LONGEST, Input
from stages.errors import UserError

HEADER = 1 << 20  # bytes of a long name or of pax attributes
LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
END = 2 * tarfile.BLOCKSIZE  # of zeros, which end an archive
BLOCK = 1 << 20
MOST = 256 << 20  # bytes of the wanted members of one sample, which are in memory together
SHOWN = 120  # characters of a name in a message


@dataclass
class Sample:
    """The wanted members of a sample, by extension: (name, bytes), or None for bytes where there are too many."""

    key: str
    members: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)
    read: int = 0  # bytes of the tar up to its end
    size: int = 0  # bytes of the members


class _Header(tarfile.TarInfo):
    """A header whose own data, which tarfile reads whole, is bounded."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> tarfile.TarInfo:  # type: ignore[override]
        found = super().frombuf(buf, encoding, errors)
        if found.type in LONG and found.size > HEADER:
            raise tarfile.ReadError(f"a header of {found.size:,} bytes; allowed: {HEADER:,}")
        return found


def samples(file: Input, wanted: Callable[[str], bool]) -> Iterator[Sample]:
    """Samples in the tar's order, with the members whose extension is `wanted`, in lower case.

    Raises UserError where the tar is damaged or cut off, or has a member that no file of data is: a link, a device, a
    name that leads elsewhere.
    """
    now: Sample | None = None
    with file.path.open("rb") as raw:
        try:
            with tarfile.open(fileobj=raw, mode="r:", tarinfo=_Header) as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all of them
                    _refuse(file, member)
                    folder, _, name = member.name.rpartition("/")
                    stem, _, extension = name.partition(".")
                    if member.isdir() or not stem:
                        continue
                    key = f"{folder}/{stem}"
                    if now is None or now.key != key:
                        if now is not None:
                            yield now
                        now = Sample(key)
                    if wanted(extension.lower()):
                        now.size += member.size
                        found = now.members.setdefault(extension.lower(), [])
                        found.append((member.name, _data(tar, member) if now.size <= MOST else None))
                    now.read = member.offset_data + member.size
                _refuse_rest(file, raw, tar.offset)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise UserError(f"{file.name}: damaged, or no tar ({error}). Copy it again.") from None
    if now is not None:
        yield now


def shown(name: str) -> str:
    """A member's name for a message: nothing in it acts on a terminal."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}...")


def _refuse(file: Input, member: tarfile.TarInfo) -> None:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        what = "a name that leads out of the folder it would be unpacked in"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        what = "a link, a device or a sparse file"
    else:
        return
    raise UserError(
        f"{file.name}: member {shown(member.name)}: {what}; allowed: files and folders, by relative names. "
        "Such a tar was not made for data: look where it is from, and write it again."
    )


def _data(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    if member.size > LONGEST:
        return None
    opened = tar.extractfile(member)
    data = b"" if opened is None else opened.read()
    if len(data) != member.size:
        raise tarfile.ReadError(f"member {shown(member.name)} is cut off")
    return data


def _refuse_rest(file: Input, raw: BinaryIO, at: int) -> None:
    """Behind the last member there are two blocks of zeros at least, and nothing else."""
    raw.seek(at)
    count = 0
    while block := raw.read(BLOCK):
        if block.count(0) != len(block):
            raise UserError(
                f"{file.name}: what lies behind byte {at:,} is no member of a tar, so that rows would be left out "
                "without a word. A damaged header, or tars that were joined: name them one by one."
            )
        count += len(block)
    if count < END:
        raise UserError(f"{file.name}: cut off: the end of the archive is missing. Copy it again.")
