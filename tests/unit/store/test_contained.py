"""What lies in a folder that others fill is read only if it lies there, and is a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.store.contained import contained


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "inner").mkdir(parents=True)
    (tmp_path / "home" / "inner" / "real").write_text("x")
    (tmp_path / "secret").write_text("x")
    return tmp_path / "home"


def found(home: Path, name: str = "it") -> Path | None:
    return contained(home / name, [home], f"place: {name}", "Mend it.")


RIGHT: dict[str, Callable[[Path], object]] = {
    "a file": lambda home: (home / "it").write_text("x"),
    "a link to a file of the folder": lambda home: (home / "it").symlink_to("inner/real"),
    "a link to a link": lambda home: ((home / "it").symlink_to("a"), (home / "a").symlink_to(home / "inner/real")),
}
WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to nowhere": (lambda home: (home / "it").symlink_to("nothing"), "a link that leads nowhere"),
    "a link out": (lambda home: (home / "it").symlink_to("../secret"), r"a link that leads out of .*home, to .*secret"),
    "a link out by its full path": (lambda home: (home / "it").symlink_to(home.parent / "secret"), "leads out of"),
    "a link out in two steps": (
        lambda home: ((home / "it").symlink_to("inner/on"), (home / "inner/on").symlink_to("../../secret")), "leads"),
    "a name that begins as the folder's": (
        lambda home: ((home.parent / "home2").write_text(""), (home / "it").symlink_to("../home2")), "leads out of"),
    "links in a circle": (lambda home: ((home / "it").symlink_to("a"), (home / "a").symlink_to("it")), "place: it: "),
    "a pipe": (lambda home: os.mkfifo(home / "it"), "not a regular file"),
    "a link to a pipe": (
        lambda home: (os.mkfifo(home / "p"), (home / "it").symlink_to("p")), "not a regular file"),
    "a device": (lambda home: (home / "it").symlink_to("/dev/zero"), "leads out of"),
    "a folder": (lambda home: (home / "it").mkdir(), "not a regular file"),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_a_file_of_the_folder_is_found(home: Path, case: str) -> None:
    RIGHT[case](home)
    real = found(home)
    assert real is not None
    assert real.read_text() == "x"
    assert not real.is_symlink()


@pytest.mark.parametrize("case", WRONG)
def test_anything_else_is_refused_with_its_place_and_what_to_do(home: Path, case: str) -> None:
    make, why = WRONG[case]
    make(home)
    with pytest.raises(UserError, match=rf"^place: it: .*{why.removeprefix('place: it: ')}.* Mend it\.$"):
        found(home)


def test_what_is_not_there_is_none(home: Path) -> None:
    assert found(home, "it") is None
    assert found(home, "inner/real/it") is None


def test_a_link_in_the_way_counts_as_well(home: Path) -> None:
    """The name itself is no link, the folder that it lies in is one."""
    (home.parent / "other").mkdir()
    (home.parent / "other" / "it").write_text("x")
    (home / "way").symlink_to("../other")
    with pytest.raises(UserError, match="leads out of"):
        found(home, "way/it")


def test_one_of_several_folders_is_enough(home: Path) -> None:
    (home / "it").symlink_to("../secret")
    assert contained(home / "it", [home, home.parent], "place", "Mend it.") == home.parent / "secret"
