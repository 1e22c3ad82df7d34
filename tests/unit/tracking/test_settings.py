"""tracking.yaml: read as specs are, wrong entries named with file and line, and no reason for a run not to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.errors import InvalidSpecs
from stages.store.layout import Layout
from stages.tracking import settings, start


def test_without_a_file_there_is_no_tracker(tmp_path: Path) -> None:
    assert settings.load(tmp_path).named() == ()
    assert start.start(Layout(tmp_path, "mini"), "toy/first", "a" * 32) == []


def test_the_three_trackers_have_what_each_needs(tmp_path: Path) -> None:
    (tmp_path / settings.FILE).write_text(
        "tensorboard: {folder: tb}\nwandb: {project: p, folder: w, mode: offline}\n"
        "mlflow: {uri: 'http://x', experiment: e}\n"
    )
    found = settings.load(tmp_path)
    assert found.named() == ("tensorboard", "wandb", "mlflow")
    assert found.wandb is not None
    assert (found.wandb.mode, found.wandb.entity) == ("offline", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tensorboard: {}\n", "tracking.yaml:1"),
        ("wandb: {project: p, folder: f, mode: sometimes}\n", "tracking.yaml:1"),
        ("comet: {}\n", "tracking.yaml:1"),
        ("tensorboard: {folder: a}\nwandb: [1]\n", "tracking.yaml:2"),
        ("tensorboard: {folder: a, api_key: secret}\n", "api_key"),
    ],
)
def test_what_is_wrong_is_named_and_keeps_no_run_from_starting(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / settings.FILE).write_text(text)
    with pytest.raises(InvalidSpecs, match=said):
        settings.load(tmp_path)
    assert start.start(Layout(tmp_path, "mini"), "toy/first", "a" * 32) == []
    assert "tracking: not started: " in capsys.readouterr().err
