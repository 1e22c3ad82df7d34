"""No check reads a scale's seed: scales that differ by their seeds alone share their findings (`Project.reseeds`).

What a stage's own spec says, `raw.seed`, is the same at every scale.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import stages.check

FILES = sorted(Path(stages.check.__file__).parent.glob("*.py"))
SEEDS = {"seed", "order"}  # an attribute of a stage; contract.order, which draws from one


def reads(source: str) -> list[int]:
    """Lines of code that take a seed, or import what draws from one."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [one for one in nodes if isinstance(one, ast.Attribute) and one.attr == "seed"]
    taken = [one.lineno for one in found if not (isinstance(one.value, ast.Name) and one.value.id == "raw")]
    imported = [(one, one.module or "") for one in nodes if isinstance(one, ast.ImportFrom)]
    named = [
        one.lineno for one, module in imported if module.startswith("stages.")
        for name in one.names if name.name in SEEDS or module.endswith(".order")
    ]  # fmt: skip
    return sorted({*taken, *named})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_check_reads_a_seed(file: Path) -> None:
    """One that has to: give it to a list that `check.run._findings` asks before it shares what was found."""
    assert reads(file.read_text()) == []


@pytest.mark.parametrize(
    "code", ["x = stage.seed\n", "from stages.contract import order\n", "from stages.contract.order import key\n"]
)
def test_one_that_would_is_seen(code: str) -> None:
    assert reads(code) == [1]
