"""A corpus that was prepared before its tokenizer was edited: its ids are valid, and mean other words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stages.commands.data import prepare
from stages.commands.run import run_stage
from stages.data.corpus.as_declared import is_declared
from stages.data.corpus.corpus_manifest import read_manifest
from stages.data.preparing.measured import declaration
from stages.data.preparing.prepare import prepare as prepare_corpus
from stages.errors import UserError
from stages.store.layout import Layout
from tests.unit.cli.own_chats import SCALE, accept, write
from tests.unit.spec.small_project import edit


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with a corpus in place, whose tokenizer was then declared again."""
    write(tmp_path, "2 epochs", short=300, long=60)
    edit(tmp_path, "toy/first.yaml", "    epochs: 1\n", "")
    monkeypatch.chdir(tmp_path)
    accept(tmp_path, capsys)
    prepare("chats", SCALE)
    assert is_declared(tmp_path, "chats", read_manifest(Layout(tmp_path, SCALE).corpus("chats")))
    path = tmp_path / "specs/data/tokenizer.yaml"
    edit(tmp_path, "data/tokenizer.yaml", "characters: 4000", "characters: 2000")
    made = prepare_corpus(tmp_path, "tokenizer", tmp_path / "other" / "tokenizer", accept=True)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | yaml.safe_load(declaration(made))))
    return tmp_path


def test_no_stage_trains_on_it(edited: Path) -> None:
    layout = Layout(edited, SCALE)
    with pytest.raises(
        UserError, match=r"toy/first: corpus chats was cut with tokenizer [0-9a-f]{64}; allowed: [0-9a-f]"
    ):
        run_stage("toy/first", SCALE, None)
    assert not layout.stage("toy/first").exists()


def test_it_is_not_prepared_as_declared_and_preparing_it_says_that_it_comes_out_otherwise(edited: Path) -> None:
    assert not is_declared(edited, "chats", read_manifest(Layout(edited, SCALE).corpus("chats")))
    with pytest.raises(UserError, match=r"specs/data/chats.yaml: digest: declared .*, built .*(\n.*)*--accept"):
        prepare("chats", SCALE)
