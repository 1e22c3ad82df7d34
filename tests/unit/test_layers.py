"""docs/architecture.md lists the packages as layers: none imports from one below it in the table."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import data

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("| layer | torch? |")[2]
ROWS = [line.split(" | ")[0] for line in TABLE.partition("\n\n")[0].splitlines() if line.startswith("| `")]
LAYERS = [re.findall(r"`([^`]+)`", row) for row in ROWS]


def layer(module: str) -> int:
    """The row of the table that a module of `stages` is in: of a file by its name, of others by their package."""
    name = module.split(".")[1]
    found = [
        row
        for row, entries in enumerate(LAYERS)
        for entry in entries
        if entry in (f"{name}/", f"{name}.py") or (entry == "cli_*.py" and name.startswith("cli_"))
    ]
    assert len(found) == 1, f"docs/architecture.md names {module} in {len(found)} rows"
    return found[0]


def imported(path: Path) -> Iterator[str]:
    """Modules of `stages` that a file imports, inside of functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("stages."))
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "stages":
                yield from (f"stages.{alias.name}" for alias in node.names if not alias.name.startswith("__"))
            elif node.module.startswith("stages."):
                yield node.module


FILES = [
    path for path in sorted((ROOT / "stages").rglob("*.py")) if path.parent != ROOT / "stages" or "__" not in path.name
]


@pytest.mark.parametrize("package", sorted({path.relative_to(ROOT / "stages").parts[0] for path in FILES}))
def test_a_layer_imports_from_those_above_it_alone(package: str) -> None:
    upwards = {
        (str(path.relative_to(ROOT)), name)
        for path in FILES
        if path.relative_to(ROOT / "stages").parts[0] == package
        for name in imported(path)
        if layer(name) > layer(".".join(path.relative_to(ROOT).with_suffix("").parts))
    }
    assert upwards == set()


DATA = re.findall(r"^- `(\w+)`:", data.__doc__ or "", flags=re.M)  # its packages, in their order


def rank(module: str) -> int:
    """Where a module of `stages.data` stands in the list: the files beside the packages stand before them all."""
    name = module.split(".")[2] if module.count(".") > 1 else ""
    return DATA.index(name) + 1 if name in DATA else 0


def test_the_packages_of_data_import_from_those_before_them_in_its_list() -> None:
    files = sorted((ROOT / "stages/data").rglob("*.py"))
    assert sorted(DATA) == sorted({path.parent.name for path in files} - {"data"})
    upwards = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        for name in imported(path)
        if name.startswith("stages.data") and rank(name) > rank(".".join(path.relative_to(ROOT).with_suffix("").parts))
    }
    assert upwards == set()
