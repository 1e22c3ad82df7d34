"""Outside of a project every command that needs one says what a project is, and how to make one."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from stages import cli
from stages.commands.find_project import find_root
from stages.errors import UsageError

GROUP = typer.main.get_command(cli.app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = GROUP.commands
WITHOUT = {"audit", "init", "schema", "verify"}  # need no project
MORE = {"export": ["--dtype", "fp32"], "gc": ["--dry-run"]}  # what these ask for before anything else


def typed(name: str) -> list[str]:
    """A call of a command with something for each thing that it has to be given."""
    if name == "compare":
        return ["a/b", "a/c"]
    words = []
    for parameter in COMMANDS[name].params:
        if parameter.required:
            words += [parameter.opts[0]] if parameter.param_type_name == "option" else []
            words.append("1")
    return words + MORE.get(name, [])


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT))
def test_it_says_what_a_project_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["stages", name, *typed(name)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert "A project is a directory with specs/" in said
    assert "`stages init DIR --example tiny`" in said
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_project_in_a_folder_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my models" / "specs" / "scales").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"go into one \(`cd 'my models'`\), or make one"):
        find_root()
