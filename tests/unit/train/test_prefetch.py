"""Data prepared a step ahead: the same bits and the same log of reads, errors in their step, nothing left behind.

Beside a GPU a thread does it; here a CPU has it too.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from stages.contract import ledger
from stages.contract.ledger import Step
from stages.errors import UserError
from stages.guards.phase_log import PhaseLog
from stages.store import manifest
from stages.train import prefetch
from stages.train.prefetch import Prefetch
from stages.train.stopping import StoppedError
from tests.snapshot import mini
from tests.unit.data.small import Small, build
from tests.unit.train import tiny

CPU = torch.device("cpu")
PHASE = tiny.phase("next_token")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return build(tmp_path_factory.mktemp("project"))


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "helps", lambda device: True)


def steps() -> list[Step]:
    return list(ledger.steps(PHASE))


# ------------------------------------------------------------------ one step ahead


@pytest.mark.usefixtures("threaded")
def test_the_next_step_is_prepared_while_one_is_computed_and_no_further() -> None:
    begun: list[int] = []
    second = threading.Event()

    def prepare(step: Step) -> int:
        begun.append(step.index)
        if step.index == 1:
            second.set()
        return step.index

    made = Prefetch(prepare, PHASE, CPU)
    assert made.take(steps()[0]) == 0
    assert second.wait(10)  # nobody asked for the second step yet
    assert begun == [0, 1]
    assert [made.take(step) for step in steps()[1:]] == list(range(1, len(steps())))
    made.close()
    assert begun == list(range(len(steps())))  # nothing beyond the phase's end


@pytest.mark.usefixtures("threaded")
def test_denormals_are_flushed_in_the_thread_too() -> None:
    """As where training computes: what is prepared must not depend on which thread did it."""
    made = Prefetch(lambda step: float(torch.tensor(1e-39) * 1), PHASE, CPU)
    assert made.take(steps()[0]) == 0
    made.close()


@pytest.mark.usefixtures("threaded")
def test_an_error_is_raised_in_the_step_that_it_belongs_to() -> None:
    def prepare(step: Step) -> int:
        if step.index == 2:
            raise UserError(f"step {step.index}: no more rows")
        return step.index

    made = Prefetch(prepare, PHASE, CPU)
    assert [made.take(step) for step in steps()[:2]] == [0, 1]
    with pytest.raises(UserError, match="step 2: no more rows"):
        made.take(steps()[2])
    made.close()


@pytest.mark.usefixtures("threaded")
def test_a_step_that_is_not_the_next_one_is_prepared_anew() -> None:
    made = Prefetch(lambda step: step.index, PHASE, CPU)
    assert [made.take(steps()[number]) for number in (0, 3, 4, 1)] == [0, 3, 4, 1]
    made.close()


@pytest.mark.usefixtures("threaded")
def test_closing_waits_for_the_thread_and_drops_what_nobody_took() -> None:
    before = threading.active_count()
    made = Prefetch(lambda step: step.index, PHASE, CPU)
    made.take(steps()[0])
    assert threading.active_count() == before + 1
    made.close()
    assert threading.active_count() == before


def test_on_a_cpu_nothing_is_read_ahead() -> None:
    begun: list[int] = []
    made = Prefetch(lambda step: begun.append(step.index), PHASE, CPU)
    made.take(steps()[0])
    assert begun == [0]
    made.close()


# ------------------------------------------------------------------ what counts as read


def test_rows_count_as_read_once_their_step_is_taken(small: Small) -> None:
    phase = mini.stage("next_token", small).phases[0]
    log = PhaseLog(phase, mini.PhaseData(phase, 7, "scope", small.data), small.data)
    log.samples(0, 4, 0)
    assert (log.report().picked, log.report().supervised_expected, log.last) == ((), 0, None)
    second = log.samples(4, 4, 0)
    log.taken()
    assert len(log.report().picked) == 4
    first = log.report()
    log.taken()
    assert len(log.report().picked) == 8
    assert log.report().supervised_expected > first.supervised_expected > 0
    assert log.last is second[-1]


# ------------------------------------------------------------------ through the engine


@pytest.mark.parametrize("objective", ["next_token", "joint", "coca", "sft"])
def test_bits_and_reads_are_those_of_a_run_that_reads_when_it_needs(
    objective: str, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mini.stage(objective, small)
    mini.train(made, small, tmp_path / "plain", monkeypatch)
    monkeypatch.setattr(prefetch, "helps", lambda device: True)
    mini.train(made, small, tmp_path / "prefetched", monkeypatch)
    assert left(tmp_path / "prefetched") == left(tmp_path / "plain")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.usefixtures("threaded")
def test_what_was_read_ahead_of_a_stop_is_not_counted_and_is_read_again(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stop is asked for while the fifth step's data are read, most often beside the fourth step."""
    made = mini.stage("next_token", small)
    mini.train(made, small, tmp_path / "whole", monkeypatch)
    with pytest.raises(StoppedError):
        mini.train(made, small, tmp_path / "cut", monkeypatch, stop_at=5)
    partial = max((tmp_path / "cut/results/.runs").glob("*/attempt-*/partial-*"))
    counters, (log,) = (json.loads((partial / name).read_text()) for name in ("counters.json", "reads.json"))
    done = counters["steps"]
    assert done in (4, 5)
    assert len(log["picked"]) == sum(step.sequences for step in ledger.steps(made.phases[0]) if step.index < done)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    mini.train(made, small, tmp_path / "cut", monkeypatch)
    assert left(tmp_path / "cut") == left(tmp_path / "whole")


def left(root: Path) -> tuple[dict[str, str], object]:
    """Digests of all that the manifest covers, and what run.json says was read."""
    folder = root / "results/mini/tiny/box"
    shards = manifest.read(folder / "manifest.json").shards
    return {shard.file: shard.blake3 for shard in shards}, json.loads((folder / "run.json").read_text())["read"]
