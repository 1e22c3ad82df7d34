"""The help of every command has an example, and the command takes it."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.main import get_command

from stages.cli import app

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_has_an_example_that_the_command_takes(name: str) -> None:
    found = re.search(r"Example: `?(stages [^`\n]*[^`\n.])", COMMANDS[name].callback.__doc__)
    assert found, f"{name}: write `Example: ...` into its docstring"
    words = shlex.split(found[1])
    assert words[:2] == ["stages", name]
    COMMANDS[name].make_context(name, words[2:])  # parses, and raises for what it does not take
