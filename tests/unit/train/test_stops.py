"""Ends that are not the end: a request to stop, Ctrl-C, a loss that is not a number."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import received, run, training
from stages.errors import UserError
from stages.evals.heldout import Heldout
from stages.store import attempts, manifest
from stages.train import stopping
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


@pytest.fixture(params=[tiny.Data, Heldout], ids=["what is trained on", "what is evaluated on"])
def written_to(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[object]]:
    """Has data written to at the n-th look at it (0: never); gives all looks from then on."""

    def at(number: int) -> list[object]:
        looks: list[object] = []

        def refuse_changed(self: object) -> None:
            looks.append(self)
            if len(looks) == number:
                raise UserError("corpus made_up: tokens.bin: written to")

        monkeypatch.setattr(request.param, "refuse_changed", refuse_changed)
        return looks

    return at


def test_nothing_is_kept_of_steps_whose_data_has_been_written_to(
    tmp_path: Path, written_to: Callable[[int], list[object]]
) -> None:
    """Looked at before each checkpoint and before the result."""
    stage, looks = tiny.make("next_token"), written_to(0)
    run(stage, tiny.inputs(tmp_path / "whole"))
    for at in (2, len(looks)):
        root = tmp_path / str(at)
        written_to(at)
        with pytest.raises(UserError, match="written to"):
            run(stage, tiny.inputs(root))
        attempt = root / "results/.runs" / ("a" * 32) / "attempt-0001"
        assert len(list(attempt.glob("partial-*"))) == min(at - 1, stage.execution.keep_partials)
        written_to(0)
        run(stage, tiny.inputs(root))
        assert digests(root) == digests(tmp_path / "whole")


def test_neither_is_a_point_nor_the_end_of_a_phase(tmp_path: Path, written_to: Callable[[int], list[object]]) -> None:
    rows = tiny.phase("next_token", budget=4 * tiny.CONTEXT)
    then = rows.model_copy(update={"name": "then", "clock_start": rows.budget})
    seldom = tiny.EXECUTION.model_copy(update={"checkpoint_every": 100})
    stage = tiny.stage({"llm": tiny.LLAMA}, (rows, then), ("llm",), execution=seldom)
    for at, kept in enumerate([set[str](), {"point"}, {"point", "end"}], start=1):
        inputs = replace(tiny.inputs(tmp_path / str(at), phases=2), kept={1: "c" * 32})
        ends = {"point": inputs.layout.phase_end("c" * 32), "end": inputs.layout.phase_end(inputs.phase_keys[0])}
        written_to(at)
        with pytest.raises(UserError, match="written to"):
            run(stage, inputs)
        assert {name for name, folder in ends.items() if folder.exists()} == kept
        assert not inputs.layout.stage("tiny/box").exists()


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


@pytest.mark.parametrize(
    ("before", "within"),
    [
        ((-1, -1), (-1, -1)),
        ((7200, 7200), (7080, 7200)),
        ((-1, 100), (90, 100)),
        ((5, 5), (4, 5)),
        ((60, 7200), (60, 7200)),
    ],
    ids=["no limit", "ulimit -t 7200", "the kernel's limit alone", "a short one", "the user's own warning"],
)
def test_a_limit_of_cpu_time_is_heard_of_before_the_kernel_kills(
    before: tuple[int, int], within: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [before]
    monkeypatch.setattr(stopping.resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(stopping.resource, "setrlimit", lambda which, limit: limits.append(limit))
    with stop_when_asked():
        assert limits[-1] == within
    assert limits[-1] == before
