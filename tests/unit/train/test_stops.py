"""Ends that are not the end: a request to stop, Ctrl-C, a loss that is not a number."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import received, run, training
from stages.errors import UserError
from stages.store import attempts, manifest
from stages.train.stopping import ASKING, NonFiniteError, StoppedError, stop_when_asked
from tests.unit.train import tiny

pytestmark = pytest.mark.usefixtures("made_up_data")


def digests(root: Path) -> dict[str, str]:
    found = manifest.read(root / "results/mini/tiny/box/manifest.json")
    return {shard.file: shard.blake3 for shard in found.shards}


def test_a_loss_that_is_not_a_number_stops_before_the_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Poisoned(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Any]:
            found = super().samples(first, count, tail)
            if first == 16:  # the fifth step
                with torch.no_grad():
                    weight.fill_(math.inf)
            return found

    built, weight = received.receive, torch.zeros(1)

    def remember(*args: Any) -> Any:
        nonlocal weight
        modules = built(*args)
        weight = modules["llm"].model.norm.weight
        return modules

    monkeypatch.setattr(training, "PhaseData", Poisoned)
    monkeypatch.setattr(received, "receive", remember)
    with pytest.raises(NonFiniteError, match=r"tiny/box, phase main: step 5 \(tokens 512 to 768.*partial-000000003"):
        run(tiny.make("next_token"), tiny.inputs(tmp_path))
    finding = json.loads((tmp_path / "results/.runs" / ("a" * 32) / "attempt-0001/finding.json").read_text())
    assert finding["step"] == 5
    assert not (tmp_path / "results/mini/tiny/box").exists()


def test_nothing_is_kept_of_steps_whose_data_has_been_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at before each checkpoint and before the result."""

    class Written(tiny.Data):
        def refuse_changed(self) -> None:
            looks.append(self)
            if len(looks) == at:
                raise UserError("corpus made_up: tokens.bin: written to")

    monkeypatch.setattr(training, "PhaseData", Written)
    stage, looks, at = tiny.make("next_token"), list[object](), 0
    run(stage, tiny.inputs(tmp_path / "whole"))
    last = len(looks)
    for at in (2, last):
        looks, root = [], tmp_path / str(at)
        with pytest.raises(UserError, match="written to"):
            run(stage, tiny.inputs(root))
        attempt = root / "results/.runs" / ("a" * 32) / "attempt-0001"
        assert len(list(attempt.glob("partial-*"))) == min(at - 1, stage.execution.keep_partials)
        at = 0
        run(stage, tiny.inputs(root))
        assert digests(root) == digests(tmp_path / "whole")


@pytest.mark.usefixtures("ctrl_c", "signals")
@pytest.mark.parametrize("asked_by", [*ASKING, signal.SIGINT], ids=lambda number: number.name)
def test_a_request_stops_at_a_step_border_and_the_rerun_equals_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_by: signal.Signals
) -> None:
    stage = tiny.make("next_token")
    run(stage, tiny.inputs(tmp_path / "whole"))

    class Interrupted(tiny.Data):
        def samples(self, first: int, count: int, tail: int) -> list[Any]:
            if first == 12:
                signal.raise_signal(asked_by)
            return super().samples(first, count, tail)

    monkeypatch.setattr(training, "PhaseData", Interrupted)
    with pytest.raises(StoppedError, match="stopped after step 4, resumable") as stopped:
        run(stage, tiny.inputs(tmp_path / "cut"))
    assert stopped.value.exit_code == 75
    (attempt,) = (tmp_path / "cut/results/.runs").glob("*/attempt-*")
    found = attempts.finding(attempt)
    assert found is not None
    assert found.stopped
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(stage, tiny.inputs(tmp_path / "cut"))
    assert digests(tmp_path / "whole") == digests(tmp_path / "cut")
    assert not list((tmp_path / "cut/results/.runs").rglob("partial-*"))


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_ends_at_once_and_afterwards_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (*ASKING, signal.SIGINT)]
    with stop_when_asked() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (*ASKING, signal.SIGINT)] == before


def test_ctrl_c_that_means_nothing_here_goes_on_meaning_nothing() -> None:
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as behind & in a script
    try:
        with stop_when_asked() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGINT, ours)


@pytest.mark.usefixtures("signals")
def test_a_signal_that_is_ignored_here_stays_ignored() -> None:
    """As SIGHUP under nohup, and what a site's script traps with nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_when_asked() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.requested
        signal.raise_signal(signal.SIGUSR1)
        assert stop.requested
