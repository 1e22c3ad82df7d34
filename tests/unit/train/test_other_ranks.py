"""Ranks that were given different things, read different rows, or whose memory changed: nothing of it is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.engines import rank, torch_trainer
from stages.engines.launch import write_job
from stages.engines.torch_trainer import TorchTrainer
from stages.spec.resolved import Stage
from stages.store import fingerprint, manifest
from stages.train import replicated
from stages.train.optimizer import Optimizer
from tests.nemo.engines import call
from tests.nemo.ranks import RankError
from tests.unit.train import ranked, tiny
from tests.unit.train.disturbed import BOX, Disturb, nothing, refused, run_one, second, train

pytestmark = pytest.mark.slow
STEP = 3  # whose rows or weights are changed


def reseeded(stage: Stage) -> Stage:
    return stage.model_copy(update={"seed": 8})


def decayed(stage: Stage) -> Stage:
    """Of which every rank would only apply its own part."""
    assert stage.optimizer is not None
    return stage.model_copy(update={"optimizer": stage.optimizer.model_copy(update={"weight_decay": 0.2})})


@pytest.mark.parametrize("other", [reseeded, decayed])
def test_ranks_with_different_specs_do_not_begin(other: Callable[[Stage], Stage], tmp_path: Path) -> None:
    refused(tmp_path, nothing, "has another spec of this stage than the first rank", other=other)


def other_code() -> None:
    if second():
        fingerprint.code = lambda: "f" * 16  # type: ignore[assignment]


def test_ranks_with_different_code_do_not_begin(tmp_path: Path) -> None:
    refused(tmp_path, other_code, "runs other code of stages (ffffffffffffffff) than the first rank")


def other_kernels() -> None:
    if second():
        os.environ["MKL_CBWR"] = "COMPATIBLE"


def test_what_differs_in_the_environments_of_ranks_is_printed_and_promised_less(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, other_kernels)
    said = "tiny/box: rank 1 computes with switches ['MKL_CBWR=COMPATIBLE'], the first rank with []"
    assert said in capfd.readouterr().out
    assert manifest.read(tiny.inputs(tmp_path).layout.manifest(BOX)).tier == "same-order"


def test_a_rank_whose_job_has_another_number_of_ranks_does_not_train_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "ranks-1.json"
    job.write_text(write_job(ranked.make("next_token", 1), tiny.inputs(tmp_path)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert rank.main(str(job)) == 1
    assert "ranks-1.json: 2 ranks were started; found 1 there." in capsys.readouterr().err


def changed(part: str) -> Disturb:
    """One number of a row that rank 1 reads."""

    def disturb() -> None:
        real, pair = tiny.Data._sample, tiny.Data._pair

        def sample(self: tiny.Data, number: int, length: int) -> Any:
            found = real(self, number, length)
            if second() and number == 4 * STEP:
                getattr(found, part).reshape(-1)[2] += 1
            return found

        def pair_of(self: tiny.Data, number: int, count: int) -> Any:
            found = pair(self, number, count)
            if not second() or number != 4 * STEP:
                return found
            if part == "pixels":
                pixels = found.images[0].pixels.copy()
                pixels.reshape(-1).view(np.uint32)[5] ^= 1
                return replace(found, images=(replace(found.images[0], pixels=pixels), *found.images[1:]))
            found.captions[0, 0] += 1
            return found

        tiny.Data._sample, tiny.Data._pair = sample, pair_of  # type: ignore[method-assign]

    return disturb


@pytest.mark.parametrize(
    ("objective", "part"),
    [
        *((objective, "tokens") for objective in ("next_token", "joint", "preference")),
        *(("sft", part) for part in ("labels", "segments", "positions")),
        *(("coca", part) for part in ("captions", "pixels")),
    ],
)
def test_a_rank_that_reads_one_number_otherwise_updates_nothing(objective: str, part: str, tmp_path: Path) -> None:
    refused(tmp_path, changed(part), "rank 1 reads other rows of step", objective)


def without_promise(stage: Stage) -> Stage:
    return stage.model_copy(update={"execution": stage.execution.model_copy(update={"determinism": "fast"})})


def test_so_it_is_where_no_equal_bits_are_promised(tmp_path: Path) -> None:
    stage = without_promise(ranked.make("next_token", 2))
    with pytest.raises(RankError, match="rank 1 reads other rows of step"):
        call(2, run_one, stage, tiny.inputs(tmp_path), changed("tokens"), lambda one: one)


def flipped(which: str, rank_: int = 1) -> Disturb:
    """One bit of a weight of one rank, after the update of a step, of what another owns, or that rank itself."""

    def disturb() -> None:
        real = replicated.gather

        def gather(optimizer: Optimizer, objective: Any, step: Any, ranks: Any) -> Any:
            if ranks.rank == rank_ and step.index == STEP:
                weight = optimizer.parameters[0 if which == "first" else -1]
                weight.detach().view(-1).view(torch.int32)[1] ^= 1
            return real(optimizer, objective, step, ranks)

        replicated.gather = gather  # type: ignore[assignment]

    return disturb


@pytest.mark.parametrize(
    ("objective", "which", "rank_"),
    [("next_token", "first", 1), ("next_token", "last", 1), ("moe", "first", 0), ("moe", "last", 1)],
)
def test_a_bit_that_flips_in_a_rank_s_copy_of_a_weight_ends_the_step(
    objective: str, which: str, rank_: int, tmp_path: Path
) -> None:
    refused(tmp_path, flipped(which, rank_), "of rank 1 is not that of rank 0; allowed: the same on all", objective)


def third_of_four() -> None:
    flipped("first", 2)()


def test_the_rank_is_named(tmp_path: Path) -> None:
    said = "at step 4 of its phase: llm.model.embed_tokens.weight of rank 2 is not that of rank 0"
    refused(tmp_path, third_of_four, said, size=4)


def persistent(name: str) -> Disturb:
    """What no update replaces: a router's bias, a frozen tower, the copy that preference training reads."""

    def disturb() -> None:
        real = TorchTrainer.stepper

        def stepper(self: TorchTrainer, *given: Any) -> Any:
            if second():
                modules = self._frozen if name == "frozen" else self._modules
                assert modules is not None
                found = next(one for key, one in modules.state_dict().items() if name in ("frozen", key))
                found.view(-1).view(torch.uint8)[3] ^= 0x3F  # of a bias that is 0, which an update would swallow
            return real(self, *given)

        TorchTrainer.stepper = stepper  # type: ignore[assignment, method-assign]

    return disturb


@pytest.mark.parametrize(
    ("objective", "name"),
    [
        ("moe", "llm.model.layers.1.mlp.gate.e_score_correction_bias"),
        ("align", "llm.model.embed_tokens.weight"),
        ("preference", "frozen"),
    ],
)
def test_what_is_whole_on_every_rank_and_moved_by_none_is_compared_before_a_checkpoint(
    objective: str, name: str, tmp_path: Path
) -> None:
    refused(tmp_path, persistent(name), "of rank 1 is not that of rank 0; allowed: the same on all", objective)
    assert not list(tmp_path.glob("results/.runs/*/attempt-*/partial-*"))


def received() -> None:
    """Another file of the parent's on a node, or another version of what draws weights."""
    real = torch_trainer.received.receive

    def receive(*given: Any) -> Any:
        modules = real(*given)
        if second():
            next(modules.parameters()).data.view(-1)[0] += 1
        return modules

    torch_trainer.received.receive = receive  # type: ignore[assignment]


def test_ranks_that_received_different_weights_do_not_begin(tmp_path: Path) -> None:
    refused(tmp_path, received, "tiny/box as received: llm.model.embed_tokens.weight of rank 1 is not that of rank 0")
