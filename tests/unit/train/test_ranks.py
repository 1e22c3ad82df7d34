"""One, two, four and eight ranks train to the same bits, across a stop and a change of their number; three nearly."""

from __future__ import annotations

import csv
import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from safetensors.torch import load_file

from stages.engines import local, run, training
from stages.engines.launch import EVALUATION, HELD, launch, read_job, write_job
from stages.engines.nodes import CRASHED
from stages.errors import UserError
from stages.store import manifest
from stages.store.lease import HeldError
from stages.train import checkpoint
from stages.train.ranks import joined, together
from stages.train.stopping import ASKING, LostRankError, StoppedError
from tests.unit.train import ranked, tiny

BOX = "results/mini/tiny/box"
TRAINED = (*tiny.OBJECTIVES, f"moe{ranked.EMA}")  # averages beside the moments of both halves of Muon
SAMPLE = 8  # the third of eight steps begins with it


def in_ranks(root: Path, objectives: Sequence[str], ranks: int, *stop: int | str) -> None:
    """Train in processes of their own; `stop` names a rank, the sample at which it gets a signal, and the signal."""
    command = [sys.executable, "-m", "tests.unit.train.ranked", str(root), ",".join(objectives), *map(str, stop)]
    launch(command, ranks, "tiny/box")


def rows(root: Path) -> list[dict[str, str]]:
    with (root / BOX / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_one_two_and_four_ranks_agree_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of each stage with four ranks, stopped by SIGTERM on the last of them; the rest with two."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    for objective in TRAINED:
        run(ranked.make(objective, 1), tiny.inputs(tmp_path / "one" / objective))
    in_ranks(tmp_path / "many", TRAINED, 4, 3, SAMPLE)
    for objective in TRAINED:
        assert not (tmp_path / "many" / objective / BOX).exists()
        assert list((tmp_path / "many" / objective).glob("results/.runs/*/attempt-0001/partial-*/counters.json"))
    in_ranks(tmp_path / "many", TRAINED, 2)
    for objective in TRAINED:
        one, many = (tmp_path / name / objective / BOX for name in ("one", "many"))
        assert not manifest.verify(many, deep=True)
        assert (many / manifest.NAME).read_bytes() == (one / manifest.NAME).read_bytes(), objective
        assert (many / checkpoint.CHECKSUMS).read_bytes() == (one / checkpoint.CHECKSUMS).read_bytes(), objective
        assert manifest.read(many / manifest.NAME).tier == "bit-exact"
        kept = [name for name in load_file(many / "state/optimizer.safetensors") if name.endswith(".ema")]
        assert bool(kept) == objective.endswith(ranked.EMA)
        told = json.loads((many / "run.json").read_bytes())
        assert (told["ranks"], told["nodes"], len(told["peak_memory_mb_by_rank"])) == (2, 1, 2)
        assert told["peak_memory_mb"] == max(told["peak_memory_mb_by_rank"]) > min(told["peak_memory_mb_by_rank"]) > 50


@pytest.mark.slow
@pytest.mark.nightly
def test_eight_ranks_have_the_bits_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of two and four micro-batches leave ranks without one. Stopped on the last of eight; the rest with four."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(ranked.make("moe", 1), tiny.inputs(tmp_path / "one"))
    in_ranks(tmp_path, ["moe"], 8, 7, SAMPLE)
    in_ranks(tmp_path, ["moe"], 4)
    one, many = (root / BOX / manifest.NAME for root in (tmp_path / "one", tmp_path / "moe"))
    assert many.read_bytes() == one.read_bytes()


@pytest.mark.slow
# Muon's whole matrices beside AdamW's ranges; by night AdamW's alone.
@pytest.mark.parametrize("objective", ["moe", pytest.param("next_token", marks=pytest.mark.nightly)])
def test_a_rank_killed_in_the_middle_costs_no_bit(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a checkpoint that four ranks wrote; two go on from it."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(ranked.make(objective, 1), tiny.inputs(tmp_path / "one"))
    with pytest.raises(UserError, match="tiny/box: rank 2 of 4 was killed by SIGKILL"):
        in_ranks(tmp_path, [objective], 4, 2, 4 * SAMPLE, "SIGKILL")
    assert list((tmp_path / objective).glob("results/.runs/*/attempt-0001/partial-*/counters.json"))
    in_ranks(tmp_path, [objective], 2)
    one, cut = (root / BOX / manifest.NAME for root in (tmp_path / "one", tmp_path / objective))
    assert cut.read_bytes() == one.read_bytes()


@pytest.mark.slow
def test_three_ranks_agree_up_to_rounding_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tier is that of the weakest part: stopped with three ranks, finished with one."""
    monkeypatch.setattr(training, "PhaseData", tiny.Data)
    run(ranked.make("next_token", 1), tiny.inputs(tmp_path / "one"))
    in_ranks(tmp_path, ["next_token"], 3, 1, SAMPLE)
    run(ranked.make("next_token", 1), tiny.inputs(tmp_path / "next_token"))
    assert manifest.read(tmp_path / "next_token" / BOX / manifest.NAME).tier == "same-order"
    whole, cut = rows(tmp_path / "one"), rows(tmp_path / "next_token")
    assert [row["tokens"] for row in cut] == [row["tokens"] for row in whole]
    assert [row["lr"] for row in cut] == [row["lr"] for row in whole]
    for a, b in zip(whole, cut, strict=True):
        assert float(b["loss"]) == pytest.approx(float(a["loss"]), rel=1e-4)


def test_a_job_survives_the_way_to_a_rank(tmp_path: Path) -> None:
    stage, inputs = tiny.make("joint"), tiny.inputs(tmp_path)
    assert read_job(write_job(stage, inputs)) == (stage, inputs)
    assert json.loads(write_job(stage, inputs))["inputs"]["layout"]["scale"] == "mini"


def test_the_rank_that_failed_is_named_and_not_its_echo(capfd: pytest.CaptureFixture[str]) -> None:
    script = "import os, sys; rank = os.environ['RANK']; print('rank', rank, 'ends'); sys.exit({'1': 1}.get(rank, 70))"
    with pytest.raises(UserError, match=r"p/s: rank 1 of 3 failed \(exit code 1\): rank 1 ends"):
        launch([sys.executable, "-c", script], 3, "p/s")
    assert "[rank 2] rank 2 ends" in capfd.readouterr().err


def test_a_killed_rank_is_named_with_its_signal() -> None:
    script = "import os, sys; os.environ['RANK'] == '0' and os.kill(os.getpid(), 9); sys.exit(70)"
    with pytest.raises(UserError, match=r"p/s: rank 0 of 2 was killed by SIGKILL; run again to resume from the last c"):
        launch([sys.executable, "-c", script], 2, "p/s")
    with pytest.raises(UserError, match=r"rank 0 of 2 was killed by SIGKILL; run it again, and the evaluation begins"):
        launch([sys.executable, "-c", script], 2, "p/s", advice=EVALUATION)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"0": "os.abort()", "1": "sys.exit(1)"}, r"rank 1 of 3 failed \(exit code 1\): rank 1 ends"),
        ({"0": "os.abort()", "1": "os.kill(os.getpid(), 9)"}, "rank 1 of 3 was killed by SIGKILL"),
        ({"1": "os.abort()"}, "rank 1 of 3 was killed by SIGABRT"),
    ],
    ids=["beside an error", "beside a kill", "alone"],
)
def test_a_rank_that_a_library_aborts_is_named_where_no_other_failed_by_itself(ends: dict[str, str], said: str) -> None:
    """NCCL aborts a rank whose partner has gone, at times before it can say so."""
    cases = "".join(f"\nif rank == {rank!r}: {how}" for rank, how in ends.items())
    script = f"import os, sys; rank = os.environ['RANK']; print('rank', rank, 'ends', flush=True){cases}\nsys.exit(70)"
    with pytest.raises(UserError, match=f"p/s: {said}"):
        launch([sys.executable, "-c", script], 3, "p/s")


def test_a_rank_that_outlives_another_says_so_in_words(capfd: pytest.CaptureFixture[str]) -> None:
    """Its own error is but an echo, so it leaves with the exit code that the launcher takes for one."""
    script = (
        "import os, sys\nfrom stages.errors import UserError\nfrom stages.train.ranks import joined\n"
        "try:\n    with joined(2) as ranks:\n        ranks.barrier()\n"
        "        os.kill(os.getpid(), 9) if ranks.rank else ranks.barrier()\n"
        "except UserError as error:\n    print(error, file=sys.stderr)\n    sys.exit(error.exit_code)\n"
    )
    with pytest.raises(UserError, match=r"p/s: rank 1 of 2 was killed by SIGKILL"):
        launch([sys.executable, "-c", script], 2, "p/s")
    said = capfd.readouterr().err
    assert "[rank 0] another rank has ended or is out of reach" in said
    assert "Traceback" not in said
    assert LostRankError.exit_code == CRASHED


def test_a_rank_that_failed_leaves_though_a_library_waits(capfd: pytest.CaptureFixture[str]) -> None:
    """As NCCL may, for ranks that wait for this one."""
    script = (
        "import sys, threading; from stages.engines import rank\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "print('disk full', file=sys.stderr); rank.end(1)"
    )
    with pytest.raises(UserError, match=r"p/s: rank 0 of 1 failed \(exit code 1\): disk full"):
        launch([sys.executable, "-c", script], 1, "p/s")
    assert "[rank 0] disk full" in capfd.readouterr().err


@pytest.mark.parametrize("error", [dist.DistBackendError, dist.DistNetworkError])
def test_an_error_of_nccl_or_of_the_network_is_another_ranks_end(error: type[RuntimeError]) -> None:
    """NCCL's own words follow; any other error is this rank's."""

    @together
    def broken(error: RuntimeError) -> None:
        raise error

    with pytest.raises(LostRankError, match=r"out of reach \(NCCL error: remote process exited\); the log's last line"):
        broken(error("NCCL error: remote process exited\nat ProcessGroupNCCL.cpp:1"))
    with pytest.raises(LostRankError, match=r"\(NCCL error: remote; NET/IB : Got completion with error 12\); the log"):
        broken(error("NCCL error: remote\nncclRemoteError: more\nLast error:\nNET/IB : Got completion with error 12\n"))
    with pytest.raises(error, match="out of memory"):  # of this rank's own GPU
        broken(error("NCCL error in: x\nLast error:\nCuda failure 2 'out of memory'"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        broken(RuntimeError("shapes differ"))


@pytest.mark.parametrize("number", [*ASKING, signal.SIGINT], ids=lambda number: number.name)
def test_ranks_stopped_before_they_could_listen_can_be_run_again(number: signal.Signals) -> None:
    script = (
        f"import os, signal, sys; signal.signal({int(number)}, signal.SIG_DFL)\n"
        f"os.environ['RANK'] == '1' and os.kill(os.getpid(), {int(number)}); sys.exit(70)"
    )
    with pytest.raises(StoppedError, match="p/s: stopped before its ranks had met; run it again"):
        launch([sys.executable, "-c", script], 2, "p/s")


def test_a_rank_leaves_ctrl_c_to_its_launcher() -> None:
    """A terminal sends it to both; a rank that took it by itself would end in a traceback."""
    script = (
        "import os, signal; from stages.engines import local; local.end_with_launcher()\n"
        "os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGTERM)"
    )
    with pytest.raises(StoppedError, match="p/s: stopped before its evaluation had ended; run it again"):
        launch([sys.executable, "-c", script], 1, "p/s", advice=EVALUATION)


def test_a_lease_held_by_another_run_is_told_as_that() -> None:
    script = f"import os, sys; print('held by n2'); sys.exit({HELD} if os.environ['RANK'] == '0' else 70)"
    with pytest.raises(HeldError, match=r"^held by n2$"):
        launch([sys.executable, "-c", script], 2, "p/s")


def test_a_common_stop_keeps_its_exit_code() -> None:
    script = "import os, sys; print('stopped after step', 3 + int(os.environ['RANK'])); sys.exit(75)"
    with pytest.raises(StoppedError, match=r"^stopped after step 3$"):
        launch([sys.executable, "-c", script], 2, "p/s")


@pytest.mark.usefixtures("ctrl_c", "signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGXCPU], ids=lambda number: number.name)
def test_what_asks_for_a_stop_is_passed_on_to_the_ranks(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import pathlib, signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('stopped after step 3'), sys.exit(75)))\n"
        "pathlib.Path(sys.argv[1], 'up').touch(); time.sleep(60)"
    )

    def interrupt() -> None:
        while not (tmp_path / "up").exists():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, number)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(StoppedError, match=r"^stopped after step 3$"):
        launch([sys.executable, "-c", script, str(tmp_path)], 1, "p/s")


@pytest.mark.usefixtures("signals")
def test_a_stop_that_is_asked_for_while_a_rank_is_started_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = local._spawn

    def interrupted(*given: Any) -> Any:
        started = spawn(*given)
        signal.raise_signal(signal.SIGUSR1)
        return started

    monkeypatch.setattr(local, "_spawn", interrupted)
    with pytest.raises(StoppedError, match="p/s: stopped before its ranks had met"):
        launch([sys.executable, "-c", "import time; time.sleep(10)"], 1, "p/s")


def test_ranks_that_are_not_those_asked_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 ranks were started, the stage asks for 4"), joined(4):
        pass


def test_a_stage_of_published_corpora_is_not_begun(tmp_path: Path) -> None:
    stage = ranked.make("sft", 2)
    (phase,) = stage.phases
    unknown = phase.model_copy(
        update={"sources": tuple(one.model_copy(update={"digest": ""}) for one in phase.sources)}
    )
    with pytest.raises(UserError, match=r"tiny/box: found published corpora \(sft\); allowed: prepared ones"):
        run(stage.model_copy(update={"phases": (unknown,)}), tiny.inputs(tmp_path))
