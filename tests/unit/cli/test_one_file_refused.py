"""What lists results shows the others where one file may not be read, or the disk refuses it, and names that file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import cli
from stages.commands import history
from stages.store import garbage, json_file, manifest, trees
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from tests.faults import finished_project
from tests.unit.cli.test_history import EARLIER, REF, aside

OTHER = "cd" * 16
COMMANDS = {
    "history": ["history", REF],
    "table": ["table"],
    "status": ["status"],
    "report": ["report", "toy", "--out", "pages"],
}
SHOWN = {"history": OTHER[:12], "table": "second", "status": "second", "report": "report: 1 pipeline"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A finished project, which is the working directory, with two earlier results of its first stage."""
    made = finished_project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    aside(made, EARLIER, 5e8)
    aside(made, OTHER, 6e8)
    return made


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """This user may not read a file, whoever runs the test."""
    whole = json_file.read_bytes

    def read_bytes(there: Path, *limit: int) -> bytes:
        if there != path:
            return whole(there, *limit)
        raise PermissionError(errno.EACCES, "Permission denied", str(there))

    monkeypatch.setattr(json_file, "read_bytes", read_bytes)


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["stages", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("file", ["manifest.json", "stage.json", "run.json", "metrics.csv"])
def test_a_file_of_the_result_in_place(
    name: str, file: str, layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = layout.stage(REF) / file
    refuse(monkeypatch, path)
    code = typed(monkeypatch, *COMMANDS[name])
    said = capsys.readouterr()
    assert SHOWN[name] in said.out
    if name == "report":
        pages = "".join(page.read_text() for page in Path("pages").rglob("*.html"))
        assert f"toy/first/{file}: refused (Permission denied)" in pages
    elif name != "status" or file in ("manifest.json", "stage.json"):  # status reads what it judges by
        assert f"toy/first/{file}: refused (Permission denied)" in " ".join((said.out + said.err).split())
        assert code == 1


@pytest.mark.parametrize("file", ["manifest.json", "stage.json"])
def test_an_earlier_result_of_which_nobody_knows_whose_it_is(
    file: str, layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = layout.run(EARLIER) / "final" / file
    refuse(monkeypatch, path)
    assert typed(monkeypatch, "history", REF) == 1
    said = capsys.readouterr()
    assert OTHER[:12] in said.out
    assert EARLIER[:12] not in said.out
    assert said.err.count(f"{path}: refused (Permission denied)") == 1
    assert [one.key for one in history.of_key(layout, REF, "")] == [manifest.read(layout.manifest(REF)).key, OTHER]


def test_gc_leaves_a_result_of_which_nobody_knows_whose_it_is(layout: Layout) -> None:
    kept, damaged = layout.run(EARLIER) / "final", layout.run(OTHER) / "final"
    (damaged / "manifest.json").write_text("{}")
    assert [item.folder for item in garbage.find(layout, 0)] == [kept]
    assert garbage.closed(layout) == [damaged]


def test_gc_goes_on_where_a_manifest_in_place_may_not_be_read(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, layout.manifest("toy/second"))
    assert len(garbage.find(layout, 0)) == 2


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_listed_is_named(
    number: int, layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed, whole = layout.results / "mini/toy", os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path) == closed:
            raise OSError(number, os.strerror(number), str(path))
        return whole(path)

    monkeypatch.setattr(trees.os, "scandir", scandir)
    assert typed(monkeypatch, "table") == 1
    assert f"left out: {closed}: refused ({os.strerror(number)})" in capsys.readouterr().err


def test_a_disk_that_refuses_a_file_is_no_other_matter(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = layout.stage(REF) / "metrics.csv", json_file.read_bytes

    def read_bytes(there: Path, *limit: int) -> bytes:
        if there != path:
            return whole(there, *limit)
        raise JsonFileError(there, "cannot be read (Input/output error)")

    monkeypatch.setattr(json_file, "read_bytes", read_bytes)
    assert typed(monkeypatch, "history", REF) == 1
    said = capsys.readouterr()
    assert OTHER[:12] in said.out
    assert f"{path}: cannot be read (Input/output error)" in said.err
