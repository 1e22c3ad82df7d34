"""Whatever a JSON file of results/ holds, or is, costs one clear line for its own box: the others stay readable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest

from stages.commands.gc import collect
from stages.commands.run import run_stage
from stages.commands.status import print_status
from stages.commands.table import print_table
from stages.errors import UserError
from stages.spec.project import Project
from tests.edits import edit
from tests.faults import finished_project

BOXES = ("toy/first", "toy/second", "toy/release", "toy_variant/second")


def deepest(path: Path) -> None:
    path.write_bytes(b"[" * 100_000 + b"]" * 100_000)


def every_leaf(change: Callable[[object], str]) -> Callable[[Path], object]:
    """Replace every number and text of a JSON file by what `change` makes of it; leave one that has none as it is."""

    def edit(path: Path) -> None:
        def spelled(value: object, change: Callable[[object], str] = change) -> str:
            if isinstance(value, dict):
                return (
                    "{"
                    + ", ".join(f"{json.dumps(key)}: {spelled(inner, change)}" for key, inner in value.items())
                    + "}"
                )
            if isinstance(value, list):
                return "[" + ", ".join(spelled(inner, change) for inner in value) + "]"
            return change(value)

        value = json.loads(path.read_bytes())
        if spelled(value) != spelled(value, json.dumps):
            path.write_text(spelled(value))

    return edit


def numbers(text: str) -> Callable[[object], str]:
    return lambda value: text if isinstance(value, int | float) else json.dumps(value)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def other_kind(path: Path) -> None:
    path.write_text("[[1, 2], {}]" if path.read_bytes().lstrip().startswith(b"{") else '{"a": 1}')


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "nested 100,000 deep": deepest,
    "numbers of 5,000 digits": every_leaf(numbers("9" * 5_000)),
    "numbers of 200 digits": every_leaf(numbers("9" * 200)),
    "negative numbers": every_leaf(numbers("-1")),
    "infinite numbers": every_leaf(numbers("1e999")),
    "no numbers": every_leaf(numbers("NaN")),
    "lists for values": every_leaf(lambda value: "[]"),
    "null for values": every_leaf(lambda value: "null"),
    "truth for values": every_leaf(lambda value: "true"),
    "texts for numbers": every_leaf(numbers('"7"')),
    "escape sequences": every_leaf(lambda value: '"\\u001b[2J"' if isinstance(value, str) else json.dumps(value)),
    "halves of characters": every_leaf(lambda value: '"\\ud800"' if isinstance(value, str) else json.dumps(value)),
    "another kind of value": other_kind,
    "an empty object": lambda path: path.write_text("{}"),
    "no bytes": lambda path: path.write_text(""),
    "not UTF-8": lambda path: path.write_bytes(b'{"a": "\xff\xfe"}'),
    "a folder": folder,
    "a pipe": pipe,
    "a device": endless,
}


TABLES = {
    "huge integers": lambda path: edit(path, "1", "9" * 400, everywhere=True) and None,
    "no numbers": lambda path: edit(path, "1", "nan", everywhere=True) and None,
    "infinite numbers": lambda path: edit(path, ".5", ".5e999", everywhere=True) and None,
    "no bytes": lambda path: path.write_text(""),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe\0\0"),
    "a folder": folder,
    "a pipe": pipe,
    "a device": endless,
}


@pytest.mark.parametrize("mutation", TABLES)
@pytest.mark.parametrize("name", ["metrics.csv", "timing.csv"])
def test_a_table_costs_a_line_too(name: str, mutation: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "results/mini/toy/first" / name
    TABLES[mutation](path)
    assert print_table("mini") == 1
    shown = capsys.readouterr()
    assert "release" in shown.out
    assert f"left out: {path}: " in shown.err
    assert states(capsys, deep=True)["toy/first"] == "damaged"


def json_files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in (root / "results").rglob("*.json"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_project.make(tmp_path_factory.mktemp("pristine")).root


@pytest.fixture
def project(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(pristine, tmp_path / "p")
    monkeypatch.chdir(tmp_path / "p")
    monkeypatch.setenv("PATH", "/nowhere")  # no Slurm
    monkeypatch.setattr(Project, "load", cache(Project.load))  # no spec is edited here: results are
    return tmp_path / "p"


def states(capsys: pytest.CaptureFixture[str], deep: bool) -> dict[str, str]:
    capsys.readouterr()
    print_status("mini", (), deep, failed=False, as_json=True)
    return {one["stage"]: one["state"] for one in json.loads(capsys.readouterr().out)}


def quietly(call: Callable[[], object]) -> str:
    """The message a user gets, if any; every error but the project's own is a defect."""
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def test_the_finished_project_is_what_its_name_says(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = states(capsys, deep=True)
    assert [found[box] for box in BOXES] == ["done", "done", "done", "failed"]
    assert len(json_files(project)) == 26
    assert print_table("mini") == 0


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_one_file_costs_a_line_for_its_stage_and_leaves_the_others_readable(
    mutation: str, pristine: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = states(capsys, deep=True)
    for file in json_files(project):
        path, data = project / file, (project / file).read_bytes()
        MUTATIONS[mutation](path)
        changed = path.is_symlink() or not path.is_file() or path.read_bytes() != data
        after = states(capsys, deep=True)
        struck = {box for box in BOXES if after[box] != before[box]}
        own = owner(project, file)
        assert struck <= {own, *below(own)}, file
        if file.parts[1] != ".runs" and changed:
            assert after[own] == "damaged", file
        said = quietly(lambda: print_table("mini"))
        shown = capsys.readouterr()
        assert not said or "nothing" in said, file
        assert "release" in shown.out or own == "toy/release", file
        for box in ("toy/release", "toy_variant/second"):
            quietly(partial(run_stage, box, "mini", None))
        quietly(lambda: collect(dry_run=True, delete=False, keep=0))
        print_status("mini", (), deep=False, failed=False, as_json=False)
        printed = "".join([*shown, *capsys.readouterr()])
        assert "Traceback" not in printed
        assert "\x1b" not in printed, file
        shutil.rmtree(project / "results")
        shutil.copytree(pristine / "results", project / "results", symlinks=True)


def owner(project: Path, file: Path) -> str:
    """The box that a file below results/ is of."""
    if file.parts[1] != ".runs":
        return "/".join(file.parts[2:4])
    return next(ref for ref, key in Project.load(project).keys("mini").items() if key == file.parts[2])


def below(box: str) -> set[str]:
    return {"toy/first": {"toy/second", "toy/release", "toy_variant/second"}, "toy/second": {"toy/release"}}.get(
        box, set()
    )
