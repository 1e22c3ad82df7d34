"""Rows with pictures, from WebDataset tars and from JSONL that names files of pictures.

A row is a picture and its caption, texts and pictures in any order, or a chat whose messages contain pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.data import decode, turns
from stages.data.decode import Size
from stages.data.files import inputs, lines, other_kinds, picture_files, pieces, records, webdataset
from stages.data.files.pieces import Broken, Input, Piece
from stages.data.files.webdataset import Sample, shown
from stages.data.spec import CorpusSpec, Extensions
from stages.data.tokens import chats
from stages.data.tokens.chats import Chat
from stages.data.turns import Part, RowError
from stages.errors import UserError
from stages.spec.builders import COLUMNS, PICTURE_EXTENSIONS

HINTS = {
    "pictures": '{{"{image}": "pictures/1.jpg", "{text}": "..."}}',
    "interleaved": '{{"{content}": [{{"type": "text", "text": "..."}}, {{"type": "image", "image": "FILE"}}]}}',
    "messages": '{{"{messages}": [{{"role": "user", "content": [{{"type": "image", "image": "FILE"}}, ...]}}, ...]}}',
}
Open = Callable[[str], bytes]
"""The bytes of a picture that a row names. Raises RowError."""


@dataclass(frozen=True)
class Found:
    """What a row contains: pictures in order, uint8 [H, W] or [H, W, 3], and a caption, parts, or a chat about them."""

    pictures: tuple[NDArray[np.uint8], ...]
    content: str | list[Part] | Chat


class PictureRow(NamedTuple):
    """A row: its line, or its number in the tar, from 1; bytes of the file read up to its end; what it contains."""

    line: int
    read: int
    found: Found | RowError


@dataclass(frozen=True)
class Reader:
    """Where pictures are that rows name, what rows look like, which extensions count, how large pictures get."""

    base: Path
    shape: str
    columns: Mapping[str, str]
    extensions: Extensions
    size: Size

    def rows(self, file: Input) -> Iterator[PictureRow]:
        """The rows of a file in its order. Raises UserError where the file is of no use."""
        try:
            yield from self._tar(file) if file.name.endswith(".tar") else self._json(file)
        except OSError as error:
            raise UserError(f"{file.name}: {error.strerror}") from None

    def _tar(self, file: Input) -> Iterator[PictureRow]:
        for number, sample in enumerate(webdataset.samples(file, self._wanted), start=1):
            try:
                found: Found | RowError = self._of_sample(sample)
            except RowError as error:
                key = shown(sample.key.removeprefix("/"))
                allowed = error.allowed or ("a picture and its caption" if self.shape == "pictures" else self._hint)
                found = RowError(f"member {key}: {error.why}", allowed)
            yield PictureRow(number, sample.read, found)

    def _wanted(self, extension: str) -> bool:
        """A row may have several pictures, which differ in what precedes the extension: 0001.0.jpg and 0001.1.jpg."""
        if extension == self.extensions.text or extension in self.extensions.image:
            return True
        return self.shape != "pictures" and extension.rpartition(".")[2] in self.extensions.image

    def _of_sample(self, sample: Sample) -> Found:
        if sample.size > webdataset.MOST:
            raise RowError(f"its members have more than {webdataset.MOST:,} bytes", "smaller ones, or fewer")
        if self.shape == "pictures":
            image, text = (
                _one(sample, self.extensions.image, "picture"),
                _one(sample, [self.extensions.text], "caption"),
            )
            caption = _caption(text) if self.extensions.text != "json" else self._text(records.parsed(text))
            return Found((decode.pixels(image, self.size),), caption)
        row = records.parsed(_one(sample, [self.extensions.text], "row"))
        left = {name for name in sample.members if name != self.extensions.text}
        found = self._of_parts(row, lambda name: picture_files.member(sample, name, left))
        if left:
            named = ", ".join(shown(name) for name in sorted(left)[:4])
            raise RowError(f"pictures that the row does not name ({named})", "rows that name each of their pictures")
        return found

    def _json(self, file: Input) -> Iterator[PictureRow]:
        for row in lines.json_lines(Piece(file, 0, file.size)):
            try:
                if isinstance(row.raw, Broken):
                    raise RowError(row.raw.why, row.raw.allowed)
                assert isinstance(row.raw, bytes)
                found: Found | RowError = self._of_row(records.parsed(row.raw))
            except RowError as error:
                found = RowError(error.why, error.allowed or self._hint)
            yield PictureRow(row.line, row.read, found)

    def _of_row(self, row: dict[str, Any]) -> Found:
        def opened(name: str) -> bytes:
            return picture_files.read(self.base, name)

        if self.shape != "pictures":
            return self._of_parts(row, opened)
        text, name = self._text(row), _column(row, "image", self.columns["image"])
        return Found((self._decoded(name, opened),), text)

    def _of_parts(self, row: dict[str, Any], opened: Open) -> Found:
        names: list[str] = []
        needed = next(iter(COLUMNS[self.shape]))
        _there(row, needed, self.columns[needed], self.shape)
        chat = self.shape == "messages"
        content = (chats.messages if chat else chats.interleaved)(row, self.columns, names)
        return Found(tuple(self._decoded(name, opened) for name in names), content)

    def _decoded(self, name: str, opened: Open) -> NDArray[np.uint8]:
        try:
            data = picture_files.within(name)
            return decode.pixels(opened(name) if data is None else data, self.size)
        except RowError as error:
            raise RowError(f"{shown(name)}: {error.why}", error.allowed) from None

    def _text(self, row: dict[str, Any]) -> str:
        return _column(row, "text", self.columns["text"])

    @property
    def _hint(self) -> str:
        return HINTS[self.shape].format(**self.columns)


def reader(root: Path, corpus: CorpusSpec) -> Reader:
    """How the rows of a corpus are read. Raises UserError where the declared root is not there, or Pillow is not."""
    decode.refuse_without_pillow(corpus.corpus)
    shape, named = corpus.rows or "pictures", corpus.columns or {}
    return Reader(
        inputs.base(root, corpus.corpus, corpus.root), shape, {key: named.get(key, key) for key in COLUMNS[shape]},
        corpus.extensions
        or Extensions(image=list(PICTURE_EXTENSIONS), text="txt" if shape == "pictures" else "json"),
        Size(corpus.number("cell"), corpus.number("side"), corpus.pixels == "rgb"),
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
    return turns.string(text, "the caption")


def _there(row: dict[str, Any], key: str, name: str, shape: str) -> None:
    if name not in row:
        found = f"found: {', '.join(map(repr, row))[:200] or 'none'}{other_kinds.of_pictures(row, shape, key)}"
        raise RowError(f"the key {name!r} is missing ({found})")


def _column(row: dict[str, Any], key: str, name: str) -> str:
    _there(row, key, name, "pictures")
    return turns.string(row[name], name)
