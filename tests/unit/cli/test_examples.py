"""The help of every command has an example that the command takes, a heading, and names in capitals."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from stages.cli import app
from stages.cli_options import FORENSICS, PROJECT, RECIPES, RESULTS, RUNS, SPECS

GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = GROUP.commands


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_has_an_example_that_the_command_takes(name: str) -> None:
    found = re.search(r"^ +Example: `(stages [^`\n]+)`", COMMANDS[name].callback.__doc__ or "", flags=re.MULTILINE)
    assert found, f"{name}: write a line that begins with Example: and the command in backticks into its docstring"
    words = shlex.split(found[1])
    assert words[:2] == ["stages", name]
    COMMANDS[name].make_context(name, words[2:])  # parses, and raises for what it does not take


def test_every_command_is_below_a_heading_in_the_order_of_work() -> None:
    headings = list(dict.fromkeys(one.rich_help_panel for one in COMMANDS.values() if isinstance(one, TyperCommand)))
    assert headings == [SPECS, RUNS, RESULTS, PROJECT, FORENSICS, RECIPES]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_what_is_to_be_given_is_in_capitals(name: str) -> None:
    for one in COMMANDS[name].params:
        if one.param_type_name == "argument":
            assert one.metavar, f"{name}: give `{one.name}` a metavar"
            assert one.metavar == one.metavar.upper()
