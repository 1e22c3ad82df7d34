"""A project with a tiny tokenizer and tiny corpora, prepared once for all tests here; and one without corpora."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.data.files import pieces
from stages.data.preparing import merge, merge_blocks, worker
from tests.unit.data.small import Small, build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("project"))


@pytest.fixture
def project(small: Small, tmp_path: Path) -> Small:
    """A project of its own, with the tokenizer prepared and no other corpus."""
    (tmp_path / "specs/data").mkdir(parents=True)
    shutil.copy(small.root / "specs/data/tokenizer.yaml", tmp_path / "specs/data")
    shutil.copytree(small.data / "tokenizer", tmp_path / "prepared" / "tokenizer")
    return Small(tmp_path, tmp_path / "prepared")


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces, runs and stretches, of a small input."""
    monkeypatch.setattr(pieces, "PIECE", 3000)
    monkeypatch.setattr(worker, "TOKENS", 900)
    monkeypatch.setattr(worker, "CHARACTERS", 500)
    monkeypatch.setattr(merge_blocks, "STRETCH", 12000)
    monkeypatch.setattr(merge, "FAN", 3)
