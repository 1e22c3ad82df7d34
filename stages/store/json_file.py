"""The one reader and writer of JSON files under results/, where anything may have been changed since it was written.

A file is read only if it is a regular file of limited size; its numbers are finite, it is text, and not deeply
nested. So no reader of a result needs a second guard against a file that is not what a run writes.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from stages.errors import REFUSALS, UserError
from stages.spec import wording
from stages.store import files
from stages.store.digest import LOST

T = TypeVar("T")
LIMIT = 16 << 20  # bytes: far above everything that a run writes without saying otherwise
DEPTH = 64  # lists and objects within each other
SHOWN = 200  # characters of a field's name and of what is wrong with it
DIGITS = 300  # of an integer: so many make a float still
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?+(?:"|\Z)|[\[{\]}]', re.DOTALL)  # a text without an end is one token
_HALF = re.compile("[\ud800-\udfff]")  # of a character beyond 16 bits: such text can be neither written nor printed


class Strict(BaseModel):
    """The base of what such a file contains: fields of their exact types, and no others; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class JsonFileError(UserError):
    """A file that cannot be read as what it should have: which file, and why. `reason` is without the file's name."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class MissingFileError(JsonFileError):
    """There is no such file."""


class RepeatedKeyError(ValueError):
    """An object has a key twice, so that readers differ in what it says: most take the last one."""


def encode(value: Any, indent: int | None = 2) -> bytes:
    """JSON with sorted keys and a closing newline. Raises ValueError for NaN and infinities: JSON has none."""
    return (json.dumps(value, sort_keys=True, indent=indent, allow_nan=False) + "\n").encode()


def write(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as JSON, whole or not at all. Raises WriteError; ValueError for NaN and infinities."""
    files.write_atomic(path, encode(value, indent))


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """The bytes of a regular file.

    Raises MissingFileError, JsonFileError for a folder, a pipe, more bytes than `limit`, or, with the system's error as
    its cause, where the disk has lost it. Raises OSError for what says nothing of the file: this user may not read it,
    the server is gone for a moment, there are too many open files. It is no damaged one, and is not to be made again.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait for a writer
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(path, "is not there") from None
    except OSError as error:
        raise _lost(path, error) from error
    there = os.fstat(handle)
    if not stat.S_ISREG(there.st_mode):
        os.close(handle)
        raise JsonFileError(path, "is not a regular file")
    with open(handle, "rb") as file:
        try:
            data = file.read(min(there.st_size, limit) + 1)  # `read` takes memory for all that it may read
        except OSError as error:
            raise _lost(path, error) from error
    if len(data) > limit:
        raise JsonFileError(path, f"is longer than {limit:,} bytes")
    return data


def _lost(path: Path, error: OSError) -> JsonFileError | OSError:
    """What is raised where a file cannot be opened or read."""
    if error.errno in REFUSALS and error.errno not in LOST:
        return OSError(error.errno, error.strerror, str(path))
    return JsonFileError(path, f"cannot be read ({error.strerror})")


def parse(data: bytes, path: Path) -> Any:
    """The value of JSON text that `path` contains. Raises JsonFileError."""
    if _too_deep(data):
        raise JsonFileError(path, f"is nested more than {DEPTH} deep")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=keys_once,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RepeatedKeyError as error:
        raise JsonFileError(path, str(error)) from None
    except ValueError as error:  # also of text that is not UTF-8
        raise JsonFileError(path, f"is not JSON ({wording.of_json(error)})") from None
    if b"\\u" in data and any(map(_HALF.search, _texts(value))):
        raise JsonFileError(path, "has half a character")
    return value


def read(path: Path) -> Any:
    """The value that a JSON file contains. Raises MissingFileError, JsonFileError or OSError."""
    return parse(read_bytes(path), path)


def read_as(path: Path, kind: TypeAdapter[T], limit: int = LIMIT) -> T:
    """What a JSON file contains, if it is of this kind. Raises MissingFileError or JsonFileError with the field."""
    return parse_as(read_bytes(path, limit), path, kind)


def parse_as(data: bytes, path: Path, kind: TypeAdapter[T]) -> T:
    """JSON text that `path` contains, if it is of this kind. Raises JsonFileError with the field."""
    parse(data, path)
    return validate(data, path, kind)


def validate(data: bytes, path: Path, kind: TypeAdapter[T]) -> T:
    """JSON text that has been parsed, as this kind. Raises JsonFileError with the field."""
    try:
        return kind.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "top level"
        raise JsonFileError(path, f"{place[:SHOWN]}: {wording.of_value(first)[:SHOWN]}") from None


def _too_deep(data: bytes) -> bool:
    if data.count(b"[") + data.count(b"{") <= DEPTH:
        return False
    depth = 0
    for token in _TOKENS.finditer(data):
        match data[token.start()]:
            case 0x5B | 0x7B:  # [ {
                depth += 1
                if depth > DEPTH:
                    return True
            case 0x5D | 0x7D:  # ] }
                depth -= 1
    return False


def keys_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON by its pairs. Raises RepeatedKeyError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedKeyError(f"the key {twice[:SHOWN]!r} is there {names.count(twice)} times in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"found {name}, which JSON does not have")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"found {text[:20]}, expected a finite number")
    return value


def _bounded(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"found {text[:20]}..., expected a number of at most {DIGITS} digits")
    return int(text)


def _texts(value: Any) -> Iterator[str]:
    """All keys and texts of a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
