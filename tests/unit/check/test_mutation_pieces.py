"""`make mutation` changes every module of the four packages whose numbers and files a result rests on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.mutants.mutant import ROOT
from tests.mutants.pieces import PIECES

PACKAGES = ("contract", "data", "store", "train")


def test_every_module_is_in_one_piece() -> None:
    found = [module for piece in PIECES for module in piece.sources(ROOT)]
    paths = [path for package in PACKAGES for path in (ROOT / "stages" / package).rglob("*.py") if path.stat().st_size]
    assert sorted(found) == sorted(str(path.relative_to(ROOT)) for path in paths)


def test_the_tests_of_a_piece_are_there() -> None:
    selected = [test for piece in PIECES for test in (*piece.selection(), *(f"tests/{one}" for one in piece.without))]
    assert [test for test in selected if not (ROOT / test.partition("::")[0]).exists()] == []


def test_every_survivor_is_of_a_line_that_is_there_and_so_is_the_test_that_kills_it() -> None:
    modules: dict[str, list[dict[str, Any]]] = yaml.safe_load((ROOT / "tests/mutants/survivors.yaml").read_text())
    gone = []
    for module, entries in modules.items():
        code = " ".join((ROOT / "stages" / module).read_text().split())
        for entry in entries:
            function, test = entry["function"].rpartition(".")[2], entry.get("test", "")
            path, _, name = test.partition("::")
            killed = not test or f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()
            if " ".join(entry["was"].split()) not in code or not re.search(rf"def {function}\b", code) or not killed:
                gone.append((module, entry["function"], entry["was"]))
    assert gone == []


def test_an_edit_of_a_test_or_of_what_stands_beside_it_is_noticed(tmp_path: Path) -> None:
    (piece, *_) = PIECES
    beside = tmp_path / "tests/unit/contract/_make.py"
    for path in (beside, tmp_path / "tests/property/test_order.py", tmp_path / "tests/property/test_keys.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    for test in piece.selection():
        (tmp_path / test).touch() if test.endswith(".py") else (tmp_path / test).mkdir(exist_ok=True, parents=True)
    before = piece.digest(tmp_path)
    (tmp_path / "tests/property/test_keys.py").write_text("2\n")  # no test of this piece
    assert piece.digest(tmp_path) == before
    beside.write_text("2\n")
    assert piece.digest(tmp_path) != before
