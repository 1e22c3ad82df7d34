"""What a test changes in a text was there: an edit that finds nothing would leave the test with nothing to find."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import edits

TESTS = Path(__file__).parents[1]


def test_several_words_are_replaced_in_turn() -> None:
    assert edits.replaced("one two", "one", "two three", "three two", "four") == "two four"
    assert edits.replaced(b"a b b", b"b", b"c", everywhere=True) == b"a c c"
    assert edits.substituted("a: 1\nb: 2", r"^b: \d", "c: 3") == "a: 1\nc: 3"


@pytest.mark.parametrize(("old", "everywhere"), [("three", False), ("three", True), ("o", False)])
def test_what_is_not_there_or_there_twice_is_an_error(tmp_path: Path, old: str, everywhere: bool) -> None:
    path = tmp_path / "x"
    path.write_text("one two")
    for change in (edits.replaced, edits.substituted):
        with pytest.raises(AssertionError, match=f"'{old}' is found"):
            change("one two", old, "new", everywhere=everywhere)
    with pytest.raises(AssertionError, match=f"'{old}' is found"):
        edits.edit(path, old, "new", everywhere=everywhere)
    assert path.read_text() == "one two"


def test_an_edit_says_at_which_line_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("one\ntwo\nthree\n")
    assert edits.edit(path, "two", "2", "three", "3") == 2
    assert path.read_text() == "one\n2\n3\n"


def silent(path: Path) -> Iterator[int]:
    """Lines that write a text to a file with `str.replace` or `re.sub` in the same expression."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.startswith("write_"):
            for part in ast.walk(call):
                match part:
                    case ast.Call(func=ast.Attribute(attr="replace"), args=[_, _, *_]):
                        yield part.lineno
                    case ast.Call(func=ast.Attribute(value=ast.Name("re"), attr="sub")):
                        yield part.lineno


def test_no_test_writes_an_edit_that_may_find_nothing() -> None:
    paths = [path for path in TESTS.rglob("*.py") if path.name != "edits.py"]
    assert [f"{path.relative_to(TESTS)}:{line}" for path in paths for line in silent(path)] == []
