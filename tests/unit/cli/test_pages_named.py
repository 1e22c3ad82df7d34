"""Pages that messages name: a project of `stages init` has no docs/, so each is named as one of Stages' repository."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stages.errors import page

ROOT = Path(__file__).resolve().parents[3]
CODE = sorted((ROOT / "stages").rglob("*.py"))
NAMED = re.compile(r"docs/[a-z-]+\.md(?!\s+of\s+Stages' repository)")


def texts(path: Path) -> Iterator[str]:
    """What a file may print: its strings, and the docstrings of commands, which are their help; no other docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docs = {id(one.value) for one in first if isinstance(one, ast.Expr)} if not path.name.startswith("cli") else set()
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return (node.value for node in found if isinstance(node.value, str))


def test_no_message_names_a_page_that_its_reader_looks_for_in_the_project() -> None:
    named = [path for path in CODE if "docs/" in path.read_text(encoding="utf-8")]
    assert [(path.name, text) for path in named for text in texts(path) if NAMED.search(text)] == []
    assert not NAMED.search((ROOT / "stages/spec/field_texts.yaml").read_text(encoding="utf-8"))


def test_every_page_that_is_named_is_there() -> None:
    names = {name for path in CODE for name in re.findall(r"\bpage\(['\"]([a-z-]+)['\"]\)", path.read_text("utf-8"))}
    assert names >= {"tracking", "spec-format", "adding-a-family"}
    assert [name for name in sorted(names) if not (ROOT / "docs" / f"{name}.md").is_file()] == []
    assert page("tracking") == "docs/tracking.md of Stages' repository"
