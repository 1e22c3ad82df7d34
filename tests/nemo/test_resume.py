"""Stopped, requeued, damaged, not finite: what a stage on this engine comes to is what it comes to undisturbed."""

from __future__ import annotations

import errno
import functools
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.contract import ledger, schedule
from stages.engines import Inputs, torch_engine, training
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_phases import Phase
from stages.store import attempts, manifest, partials, progress
from stages.store.manifest import Parent
from tests.nemo import engines
from tests.nemo.engines import Layout, layout
from tests.nemo.ranks import RankError
from tests.unit.train import tiny

pytestmark = pytest.mark.slow
LAYOUTS = (layout(), layout(2, distributed_optimizer=True), layout(2, tp=2), layout(2, pp=2), layout(2, cp=2))
EXPERTS = layout(4, tp=2, ep=2, sequence_parallel=True)
OTHERS = (
    ("looped", layout()), ("looped", layout(2, tp=2)), ("moe", layout()), ("moe", layout(2, ep=2)),
    ("joint", layout(2, pp=2)), ("joint", EXPERTS),
)  # fmt: skip
COVERED = ("llama", layout(2, pp=2))  # by the joint model's
MODELS = [
    pytest.param(model, where, marks=() if where.ranks > 1 and (model, where) != COVERED else pytest.mark.nightly)
    for model, where in (*(("llama", where) for where in LAYOUTS), *OTHERS)
]
ANOTHER = (
    ("next_token", layout(2, tp=2), layout()), ("next_token", layout(), layout(2, pp=2)), ("joint", EXPERTS, layout()),
    ("joint", layout(2, pp=2), layout(2, ep=2)),
)  # fmt: skip
# Rows of 8 steps: a checkpoint every 3 of them, the last step is short.


def two_phases() -> Stage:
    """Two phases with a ramp in the first, and a short step at the end of each."""
    first = tiny.phase("next_token", name="first", budget=21 * tiny.CONTEXT + 16)
    second = tiny.phase("sft", name="second", budget=9 * tiny.CONTEXT + 8, clock_start=first.budget)
    return tiny.stage({"llm": tiny.LLAMA}, (first, second), ("llm",))


def partial_steps(given: Inputs) -> list[int]:
    """Steps of the checkpoints that are there, of all attempts."""
    found = [one for folder in attempts.folders(given.layout, given.key) for one in partials.listed(folder)]
    return sorted(partials.step_of(one) for one in found)


def same(found: engines.Left, wanted: engines.Left) -> None:
    assert found.rows == wanted.rows
    for one, other in ((found.weights, wanted.weights), (found.state, wanted.state)):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("model", "where"), MODELS, ids=str)
def test_stopped_and_requeued_twice_it_has_every_bit(model: str, where: Layout, tmp_path: Path) -> None:
    stage = engines.on_nemo(two_phases() if model == "llama" else tiny.make(model), where)
    phases = len(stage.phases)
    given, other = tiny.inputs(tmp_path / "one", phases=phases), tiny.inputs(tmp_path / "other", phases=phases)
    engines.run(stage, other)
    steps = sum(ledger.count(phase) for phase in stage.phases)
    for number in (2, steps - 1):  # in the first phase, and before the last step
        with pytest.raises(RankError, match=rf"StoppedError: tiny/box: stopped after step {number}"):
            engines.run(stage, given, engines.stopping_after(number))
        assert partial_steps(given)[-1] == number
        noted = progress.latest(given.layout, given.key)  # what `stages status` shows, with the pace behind its ETA
        assert noted is not None
        assert noted.steps == steps
    engines.run(stage, given)
    same(engines.left(given), engines.left(other))


@pytest.mark.parametrize("where", [layout(2, distributed_optimizer=True), layout(2, tp=2)], ids=str)
def test_in_bf16_its_fp32_copies_are_kept_too(where: Layout, tmp_path: Path) -> None:
    stage = engines.on_nemo(tiny.make("next_token"), where).model_copy(update={"engine_class": "nemo-bf16"})
    given, other = tiny.inputs(tmp_path / "one"), tiny.inputs(tmp_path / "other")
    engines.run(stage, other)
    with pytest.raises(RankError, match="stopped after step 4"):
        engines.run(stage, given, engines.stopping_after(4))
    engines.run(stage, given)
    same(engines.left(given), engines.left(other))


@pytest.mark.parametrize(("model", "first", "second"), ANOTHER, ids=str)
def test_it_goes_on_in_another_layout_up_to_rounding(model: str, first: Layout, second: Layout, tmp_path: Path) -> None:
    given, other = tiny.inputs(tmp_path / "one"), tiny.inputs(tmp_path / "other")
    engines.run(engines.on_nemo(tiny.make(model)), other)
    with pytest.raises(RankError, match="stopped after step 4"):
        engines.run(engines.on_nemo(tiny.make(model), first), given, engines.stopping_after(4))
    engines.run(engines.on_nemo(tiny.make(model), second), given)
    found, known = engines.left(given), engines.left(other)
    assert [row["clock"] for row in found.rows] == [row["clock"] for row in known.rows]
    assert engines.apart(found.weights, known.weights) < 2e-5


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    stage = engines.on_nemo(tiny.make("next_token"))
    given, other = tiny.inputs(tmp_path / "one"), tiny.inputs(tmp_path / "other")
    engines.run(stage, other)
    with pytest.raises(RankError, match="stopped after step 7"):
        engines.run(stage, given, engines.stopping_after(7))
    newest = partials.built_on(given.layout, given.key, given.parents)[0]
    assert partials.step_of(newest) == 7
    largest = max((path for path in (newest / "state").iterdir()), key=lambda path: path.stat().st_size)
    raw = bytearray(largest.read_bytes())
    raw[len(raw) // 2] ^= 1
    largest.write_bytes(raw)
    for folder in (newest, newest / "state"):  # Bridge's own file, by which it would choose: nobody reads it
        (folder.parent / "latest_checkpointed_iteration.txt").write_text("7")
    engines.run(stage, given)
    same(engines.left(given), engines.left(other))


@pytest.mark.parametrize("where", [layout(2), layout(2, pp=2)], ids=str)
def test_a_loss_that_is_no_number_stops_all_ranks_before_anything_moves(where: Layout, tmp_path: Path) -> None:
    def disturb() -> None:
        from megatron.core import parallel_state

        from stages.engines.nemo.causal import Causal

        forward = Causal.forward
        calls = iter(range(10_000))

        def broken(self: Causal, chunk: Any, micro: Any) -> Any:
            output, loss = forward(self, chunk, micro)
            late = next(calls) > 5 and parallel_state.get_data_parallel_rank() == 0
            return output, (lambda losses: loss(losses * math.nan if late else losses))

        Causal.forward = broken  # type: ignore[method-assign]

    given = tiny.inputs(tmp_path)
    stage = engines.on_nemo(tiny.make("next_token"), where)
    with pytest.raises(RankError, match=r"NonFiniteError: .*step \d.*Nothing was updated by this step") as raised:
        engines.run(stage, given, disturb)
    assert str(raised.value).count("NonFiniteError") >= 2, "every rank stops by itself"
    assert not given.layout.stage("tiny/box").exists()


def test_a_full_disk_on_another_rank_is_told_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    def disturb() -> None:
        from megatron.core.dist_checkpointing.strategies import filesystem_async

        write, calls = filesystem_async._write_item, iter(range(10_000))

        @functools.wraps(write)
        def full(*given: Any, **named: Any) -> Any:
            if os.environ["RANK"] == "1" and next(calls) > 30:  # in the second checkpoint
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*given, **named)

        filesystem_async._write_item = full

    stage = engines.on_nemo(tiny.make("next_token"), layout(2, tp=2))
    given, other = tiny.inputs(tmp_path / "one"), tiny.inputs(tmp_path / "other")
    engines.run(stage, other)
    with pytest.raises(RankError, match=r"WriteError: .*rank 1 could not write its part .*\(No space left.*Make room"):
        engines.run(stage, given, disturb)
    (folder,) = attempts.folders(given.layout, given.key)
    assert not list(folder.glob(".*.tmp"))
    engines.run(stage, given)
    same(engines.left(given), engines.left(other))


def child(parent: Stage, phase: Phase) -> Stage:
    """A stage that goes on with everything of its parent's: weights, optimizer, clock."""
    goes_on = Init(
        weights="inherit", parent="tiny/box", release=None, optimizer="inherit", layer_map=None, stand_in=False
    )
    return parent.model_copy(
        update={
            "name": "child", "parents": ("tiny/box",), "init": {"llm": goes_on}, "clock": "continue",
            "phases": (phase,), "schedule": tiny.schedule(phase.clock_start + phase.budget),
        }
    )  # fmt: skip


@pytest.mark.parametrize("elder", ["torch", "nemo"])
def test_parent_child_requeue_requeue(elder: str, tmp_path: Path) -> None:
    """Optimizer and clock are the parent's, a resume is the run's own: rate, step and tokens are the contract's."""
    parent, given = tiny.make("next_token"), tiny.inputs(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        if elder == "torch":
            torch_engine.run(parent, given)
        else:
            engines.run(engines.on_nemo(parent), given)
    identity = manifest.identity(manifest.read(given.layout.manifest("tiny/box")))
    record = {"tiny/box": Parent(key=given.key, manifest=identity)}
    (elders,) = parent.phases
    phase = tiny.phase("next_token", name="later", clock_start=elders.budget)
    stage = engines.on_nemo(child(parent, phase), layout(2, tp=2))
    own = Inputs(given.layout, "c" * 32, ("d" * 32,), record, given.data_root, {})
    for number in (1, 5):
        with pytest.raises(RankError, match=f"stopped after step {number}"):
            engines.run(stage, own, engines.stopping_after(number))
    engines.run(stage, own)
    left = engines.left(own, "tiny/child")
    assert stage.schedule is not None
    ends = [(step, phase.clock_start + step.end) for step in ledger.steps(phase)]
    wanted = [(step.index + 1, step.end, clock, schedule.lr(stage.schedule, clock)) for step, clock in ends]
    found = [(int(row["step"]), int(row["tokens"]), int(row["clock"]), float(row["lr"])) for row in left.rows]
    assert found == wanted
    assert int(left.state["llm.step"]) == ledger.count(elders) + ledger.count(phase)
