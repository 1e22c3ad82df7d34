"""What is read from results/ as JSON: finite, flat enough, of a bearable size, and text."""

from __future__ import annotations

import ast
import errno
import io
import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from stages.store import files, json_file
from stages.store.json_file import JsonFileError, MissingFileError

PACKAGE = Path(json_file.__file__).resolve().parents[1]
# Where JSON is read that is no file of results/: messages between processes, and rows of a user's corpora.
ELSEWHERE = {"engines/nodes.py", "engines/launch.py", "models/hf_config.py", "store/json_file.py"}
ELSEWHERE |= {"train/ranks.py"}  # what ranks send each other
ELSEWHERE |= {"models/release_config.py"}  # keys of a text that was read before
ELSEWHERE |= {"data/tokens/word_cache.py"}  # what `tokenizers` says of its own parts
ROWS = {
    *("data/tokens/chats.py", "data/json_text.py", "data/preparing/picture_documents.py"),
    *("data/files/records.py", "data/loading/readers.py"),
}

REFUSED = {
    "deep lists": (b"[" * 100_000, "nested more than 64 deep"),
    "deep objects": (b'{"a":' * 100_000, "nested more than 64 deep"),
    "closed and deep": (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
    "a long text without an end": (b'"' + b'\\"' * 1_000_000, "a text without an end"),
    "an infinity": (b'{"loss": 1e999}', "found 1e999, expected a finite number"),
    "no number": (b'{"loss": NaN}', "found NaN"),
    "a named infinity": (b"[-Infinity]", "found -Infinity"),
    "a huge integer": (b"[" + b"9" * 5_000 + b"]", "at most 300 digits"),
    "not UTF-8": (b'"\xff"', "is not JSON"),
    "a key twice": (b'{"seed": 1, "seed": 2}', "the key 'seed' is there 2 times in one object"),
    "a key twice, inside": (b'[{"a": {"b": 1, "b": 1}}]', "the key 'b' is there 2 times"),
    "a key twice, once escaped": (b'{"ab": 1, "\\u0061b": 2}', "the key 'ab' is there 2 times"),
    "half a character, raw": (b'"\xed\xa0\x80"', "is not JSON"),
    "half a character, escaped": (b'{"\\ud800": 1}', "half a character"),
    "half a character, in a list": (b'[1, ["\\ud800"]]', "half a character"),
    "half a character, in an object": (b'{"a": {"b": "\\ud800"}}', "half a character"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "is not JSON"),
    "cut off": (b'{"pid": 1', "is not JSON"),
    "nothing": (b"", "is not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_run_writes_is_refused_at_once_with_the_file_and_the_reason(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    (tmp_path / "a.json").write_bytes(data)
    began = time.monotonic()
    with pytest.raises(JsonFileError, match=reason) as caught:
        json_file.read(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "value",
    ["über\nzwei\tSpalten", "\\beta \\u001b as people write it", "😀", [[[1.5, -0.0, 10**30]]], {"a[{": '"[{\\'}, None],
    ids=["lines and tabs", "backslashes", "beyond 16 bits", "numbers", "brackets in texts", "null"],
)  # fmt: skip
def test_what_a_run_writes_comes_back(tmp_path: Path, value: object) -> None:
    json_file.write(tmp_path / "a.json", value)
    assert json_file.read(tmp_path / "a.json") == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_is_not_finite_is_never_written(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_file.write(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_read_and_none_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(JsonFileError, match=f"{name}: is not a regular file"):
            json_file.read(tmp_path / name)
    with pytest.raises(JsonFileError, match="loop: cannot be read"):
        json_file.read(tmp_path / "loop")
    for name in ("nothing", "pipe/below"):
        with pytest.raises(MissingFileError, match="is not there"):
            json_file.read(tmp_path / name)


def test_a_file_longer_than_allowed_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(JsonFileError, match="longer than 50 bytes"):
        json_file.read_bytes(tmp_path / "a.json", limit=50)
    with (tmp_path / "sparse.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(JsonFileError, match="longer than"):
        json_file.read(tmp_path / "sparse.json")


def test_a_file_takes_memory_for_what_it_holds_and_not_for_what_it_may_hold(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    tracemalloc.start()
    try:
        assert json_file.read_bytes(tmp_path / "a.json", limit=1 << 30) == b"[1]"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_of_another_kind_is_refused_with_its_field(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a.json", b'{"steps": [1, "2"]}')
    with pytest.raises(JsonFileError, match=r"a\.json: steps\.1: expected a whole number"):
        json_file.read_as(tmp_path / "a.json", TypeAdapter(dict[str, list[int]]))


def calls(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Called methods as "object.name" with the names of their keyword arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f"{getattr(node.func.value, 'id', '')}.{node.func.attr}", {str(word.arg) for word in node.keywords}


def test_nothing_else_reads_json_files_and_nothing_writes_what_is_not_finite() -> None:
    """One reader, so that nobody forgets what it looks at."""
    readers, lax = set(), set()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        for called, words in calls(ast.parse(path.read_text(encoding="utf-8"))):
            if called in ("json.loads", "json.load") or called.endswith(".model_validate_json"):
                readers.add(name)
            if called in ("json.dumps", "json.dump") and "allow_nan" not in words:
                lax.add(name)
    assert readers <= ELSEWHERE | ROWS
    # A row's text is compared, or given to a tokenizer as transformers would write it; it is no file.
    assert lax <= ROWS | {"data/tokens/template.py"}


def test_a_reader_may_set_a_limit_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2, 3]\n")
    assert json_file.read_as(tmp_path / "a.json", TypeAdapter(list[int]), limit=10) == [1, 2, 3]
    with pytest.raises(JsonFileError, match=r"a\.json: is longer than 9 bytes$"):
        json_file.read_as(tmp_path / "a.json", TypeAdapter(list[int]), limit=9)


def test_what_is_wrong_as_a_whole_is_said_of_the_top_level(tmp_path: Path) -> None:
    with pytest.raises(JsonFileError) as caught:
        json_file.parse_as(b"{}", tmp_path, TypeAdapter(list[int]))
    assert str(caught.value) == f"{tmp_path}: top level: expected a list"
    assert (caught.value.path, caught.value.reason) == (tmp_path, "top level: expected a list")


def test_long_names_and_numbers_are_shown_by_their_beginnings(tmp_path: Path) -> None:
    name = "n" * 300
    with pytest.raises(JsonFileError) as caught:
        json_file.parse_as(f'{{"{name}": "1"}}'.encode(), tmp_path, TypeAdapter(dict[str, int]))
    assert caught.value.reason == f"{name[:200]}: expected a whole number"
    with pytest.raises(JsonFileError, match=r"is not JSON \(found 1{20}, expected a finite number\)"):
        json_file.parse(b"1" * 30 + b"e999", tmp_path)
    with pytest.raises(
        JsonFileError, match=r"is not JSON \(found 1{20}\.\.\., expected a number of at most 300 digits"
    ):
        json_file.parse(b"1" * 301, tmp_path)
    assert json_file.parse(b"1" * 300, tmp_path) == int("1" * 300)


def test_nesting_is_counted_to_the_last_level_that_is_allowed(tmp_path: Path) -> None:
    """Brackets that close come off again; those within a text count for nothing."""
    for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
        allowed = opened * 64 + b"1" + closed * 64
        assert json_file.parse(allowed, tmp_path) is not None
        assert json_file.parse(b"[" + b",".join([opened * 63 + b"1" + closed * 63] * 3) + b"]", tmp_path) is not None
        with pytest.raises(JsonFileError, match="nested more than 64 deep"):
            json_file.parse(opened + allowed + closed, tmp_path)
    with pytest.raises(
        JsonFileError, match="nested more than 64 deep"
    ):  # what closes takes off one level, and one only
        json_file.parse(b"[" * 60 + b"[]," * 10 + b"[" * 5 + b"]" * 65, tmp_path)
    assert json_file.parse(b'["' + b"[{" * 100 + b'"]', tmp_path) == ["[{" * 100]


def test_what_is_written_is_sorted_and_ends_its_last_line(tmp_path: Path) -> None:
    json_file.write(tmp_path / "a.json", {"b": [1], "a": None})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "a": null,\n  "b": [\n    1\n  ]\n}\n'
    json_file.write(tmp_path / "a.json", {"b": [1], "a": None}, indent=None)
    assert (tmp_path / "a.json").read_bytes() == b'{"a": null, "b": [1]}\n'


def test_a_disk_that_refuses_to_read_is_told_of_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And known by its cause from a file that was changed."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(JsonFileError, match=r"loop: cannot be read \(Too many levels of symbolic links\)") as caught:
        json_file.read_bytes(tmp_path / "loop")
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(MissingFileError) as missing:
        json_file.read_bytes(tmp_path / "nothing")
    assert (missing.value.path, missing.value.reason) == (tmp_path / "nothing", "is not there")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opened(handle: int, mode: str) -> Broken:
        os.close(handle)
        return Broken()

    (tmp_path / "a.json").write_text("{}")
    monkeypatch.setattr(json_file, "open", opened, raising=False)
    with pytest.raises(JsonFileError, match=r"a\.json: cannot be read \(Input/output error\)") as caught:
        json_file.read_bytes(tmp_path / "a.json")
    assert isinstance(caught.value.__cause__, OSError)


NO_DAMAGE = [errno.EACCES, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE]


@pytest.mark.parametrize("number", NO_DAMAGE)
def test_what_says_nothing_of_the_file_is_no_damage(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result of days is not made again because its server was gone for a moment."""

    def refuse(path: Path, flags: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        json_file.read(tmp_path / "a.json")
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "a.json"))


def test_half_a_character_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(JsonFileError) as caught:
        json_file.parse(b'"\\ud800"', tmp_path)
    assert str(caught.value) == f"{tmp_path}: has half a character"
