"""What `make device` says it needs is what the code imports that runs there."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.device import needs
from stages.models.ops import choice

ROOT = Path(__file__).resolve().parents[3]
OWN = {"stages", "benchmarks", "tests"}
# Run on that machine by nothing: the workflow tools have a machine of their own.
ELSEWHERE = {ROOT / "stages/sync", ROOT / "stages/commands/record.py", ROOT / "stages/report/record.py"}
ELSEWHERE |= {ROOT / "stages/forensics/signed.py", ROOT / "stages/commands/sign.py"}  # of finished results
ELSEWHERE |= {ROOT / "stages/audit", ROOT / "stages/commands/audit.py"}  # of others' recipes
ELSEWHERE |= {ROOT / "stages/tracking"}  # extras, in processes of their own
ELSEWHERE |= {ROOT / "stages/engines/nemo"}  # it has an environment of its own


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Dotted names that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(name.name.split(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((*node.module.split("."), name.name) for name in node.names)


def own_file(words: tuple[str, ...]) -> Path | None:
    """The file of this project that a dotted name is, or is in."""
    for end in range(len(words), 0, -1):
        place = ROOT.joinpath(*words[:end])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None


def reached() -> tuple[set[Path], set[str]]:
    """Files that are reached from what runs on the device machine, and the names of others' packages in them."""
    waiting = [
        *(ROOT / "benchmarks/device").rglob("*.py"), *(ROOT / "tests/cuda").rglob("*.py"), ROOT / "tests/conftest.py",
        ROOT / "stages/cli.py", *(ROOT / "stages/engines").glob("*.py"),
    ]  # fmt: skip
    files, others = set[Path](), set[str]()
    while waiting:
        path = waiting.pop()
        if path in files or any(path.is_relative_to(place) for place in ELSEWHERE):
            continue
        files.add(path)
        for words in imported(path):
            if words[0] not in OWN:
                others.add(words[0])
            elif (found := own_file(words)) is not None:
                waiting.append(found)
    return files, others - sys.stdlib_module_names - {"__future__"}


def test_every_package_that_the_code_there_imports_is_listed() -> None:
    files, others = reached()
    assert ROOT / "stages/train/loop.py" in files
    assert ROOT / "tests/unit/train/tiny.py" in files
    assert others <= {*needs.USUAL, *needs.CARRIED, *needs.ALTERNATIVES}


def test_what_is_carried_is_pinned() -> None:
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert set(needs.CARRIED.values()) <= pins


def test_what_is_carried_is_the_flash_attention_4_that_stages_take() -> None:
    name, version = choice.FLASH4
    assert needs.ATTENTION[name] == version
