"""Rows of a picture and its caption, from WebDataset tars and from JSONL that names files of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stages.data import chats, decode, inputs, lines, pieces, records, webdataset
from stages.data.chats import RowError
from stages.data.decode import Size
from stages.data.document import Picture
from stages.data.pieces import LONGEST, Broken, Input, Piece
from stages.data.spec import CorpusSpec, Extensions
from stages.data.webdataset import Sample, shown
from stages.errors import UserError
from stages.spec.builders import PICTURE_EXTENSIONS
from stages.store.contained import contained

BELOW = "a path relative to the project or the declared root, of a file below it"


class PictureRow(NamedTuple):
    """A row: its line, or its number in the tar, from 1; bytes of the file read up to its end; what it holds."""

    line: int
    read: int
    found: tuple[Picture, str] | RowError


@dataclass(frozen=True)
class Reader:
    """Where pictures lie that rows of JSON name, which columns and extensions count, what pictures are scaled to."""

    base: Path
    image: str
    text: str
    extensions: Extensions
    size: Size

    def rows(self, file: Input) -> Iterator[PictureRow]:
        """The rows of a file in its order. Raises UserError where the file is of no use."""
        try:
            yield from self._tar(file) if file.path.name.endswith(".tar") else self._json(file)
        except OSError as error:
            raise UserError(f"{file.name}: {error.strerror}") from None

    def _tar(self, file: Input) -> Iterator[PictureRow]:
        wanted = frozenset((*self.extensions.image, self.extensions.text))
        for number, sample in enumerate(webdataset.samples(file, wanted), start=1):
            try:
                found: tuple[Picture, str] | RowError = self._of_sample(sample)
            except RowError as error:
                key = shown(sample.key.removeprefix("/"))
                found = RowError(f"member {key}: {error.why}", error.allowed or "a picture and its caption")
            yield PictureRow(number, sample.read, found)

    def _of_sample(self, sample: Sample) -> tuple[Picture, str]:
        image, text = _one(sample, self.extensions.image, "picture"), _one(sample, [self.extensions.text], "caption")
        if self.extensions.text != "json":
            return Picture(decode.grey(image, self.size), ()), _caption(text)
        row = records.parsed(text)
        return Picture(decode.grey(image, self.size), ()), _column(row, self.text)

    def _json(self, file: Input) -> Iterator[PictureRow]:
        for row in lines.json_lines(Piece(file, 0, file.size)):
            try:
                if isinstance(row.raw, Broken):
                    raise RowError(row.raw.why, row.raw.allowed)
                assert isinstance(row.raw, bytes)
                found: tuple[Picture, str] | RowError = self._of_row(records.parsed(row.raw))
            except RowError as error:
                hint = f'{{"{self.image}": "pictures/1.jpg", "{self.text}": "..."}}'
                found = RowError(error.why, error.allowed or hint)
            yield PictureRow(row.line, row.read, found)

    def _of_row(self, row: dict[str, Any]) -> tuple[Picture, str]:
        text, name = _column(row, self.text), _column(row, self.image)
        try:
            return Picture(decode.grey(self._file(name), self.size), ()), text
        except RowError as error:
            raise RowError(f"{shown(name)}: {error.why}", error.allowed) from None

    def _file(self, name: str) -> bytes:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise RowError("not below the project or the root", BELOW)
        try:
            real = contained(self.base / path, [self.base], "picture", "Copy the file.")
        except UserError as error:
            raise RowError(str(error), BELOW) from None
        if real is None:
            raise RowError("no such file", BELOW)
        with real.open("rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise RowError(f"a picture of more than {LONGEST:,} bytes", "smaller ones")
        return data


def reader(root: Path, corpus: CorpusSpec) -> Reader:
    """How the rows of a corpus are read. Raises UserError where the declared root is not there, or Pillow is not."""
    decode.pillow(corpus.corpus)
    columns = corpus.columns or {}
    return Reader(
        inputs.base(root, corpus), columns.get("image", "image"), columns.get("text", "text"),
        corpus.extensions or Extensions(image=list(PICTURE_EXTENSIONS), text="txt"),
        Size(corpus.number("cell"), corpus.number("side")),
    )  # fmt: skip


def _one(sample: Sample, extensions: list[str], what: str) -> bytes:
    """The one member of a sample with one of these extensions. Raises RowError."""
    found = [one for extension in extensions for one in sample.members.get(extension, ())]
    if len(found) != 1:
        names = ", ".join(shown(name) for name, _ in found[:4]) or "none"
        raise RowError(f"{len(found)} members are its {what} ({names})", f"one of .{', .'.join(extensions)}")
    name, data = found[0]
    if data is None:
        raise RowError(f"{shown(name)} has more than {pieces.LONGEST:,} bytes", "smaller ones")
    return data


def _caption(data: bytes) -> str:
    try:
        text = data.decode().removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError:
        raise RowError("the caption is not UTF-8", "text in UTF-8") from None
    return chats.string(text, "the caption")


def _column(row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise RowError(f"the key {name!r} is missing (found: {', '.join(map(repr, row))[:200] or 'none'})")
    return chats.string(row[name], name)
