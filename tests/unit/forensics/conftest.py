"""A small stage that has been run, to be replayed, signed and searched for spikes."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import pytest

from stages.commands.data import prepare, print_declaration
from stages.commands.run import run_stage
from stages.store import partials
from tests.unit.cli.own_chats import OWN, SCALE, write
from tests.unit.spec.small_project import edit

REF, STEPS = "toy/first", 8


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small stage that has been run, with its checkpoints still there; copied for each test that changes it."""
    root = tmp_path_factory.mktemp("replay") / "project"
    with pytest.MonkeyPatch.context() as patch:
        write(root, str(STEPS * 4 * 128), short=300, long=0)
        edit(root, "scales/paper.yaml", "checkpoint_every: 100 steps", "checkpoint_every: 3 steps")
        patch.chdir(root)
        accept_quietly(root)
        prepare("chats", SCALE)
        patch.setattr(partials, "clear", lambda *_: None)
        run_stage(REF, SCALE, None)
    return root


def accept_quietly(root: Path) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        print_declaration("chats")
    (root / "specs/data/chats.yaml").write_text(OWN + said.getvalue())


@pytest.fixture
def copy(pattern: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(pattern, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"
