"""Checksums of a state: every flipped bit shows, any division over ranks gives the same word, and a run writes them."""

from __future__ import annotations

import csv
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.contract.ledger import Step
from stages.data.loading.sample import PairRow, Sample
from stages.engines import run
from stages.engines.torch_trainer import freeze
from stages.models.build import build
from stages.store import partials, seal
from stages.train import checkpoint, checksum
from stages.train.optimizer import AVERAGE, STEP, Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from stages.train.state_sums import StateSums, columns
from tests.unit.train import tiny

KINDS = (torch.float32, torch.bfloat16, torch.int64, torch.uint8)
BOX = "tiny/box"


def word(part: Tensor, start: int = 0) -> int:
    return checksum.of_pieces(*checksum.pieces(part, start))


def tensor(size: int, kind: torch.dtype, seed: int) -> Tensor:
    """Any bytes, so infinities and what is no number too."""
    drawn = np.random.default_rng(seed).integers(0, 256, size * torch.empty(0, dtype=kind).element_size(), np.uint8)
    return torch.from_numpy(drawn).view(kind)


@given(st.integers(1, 300), st.sampled_from(KINDS), st.integers(0, 99), st.data())
def test_any_flipped_bit_shows(size: int, kind: torch.dtype, seed: int, data: st.DataObject) -> None:
    """Also in pieces that were taken before it was flipped, as those of weights and moments are."""
    one = tensor(size, kind, seed)
    taken, before = checksum.pieces(one), word(one)
    octets = one.view(torch.uint8)
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert word(one) == checksum.of_pieces(*taken) != before


@given(st.lists(st.integers(0, 5000), max_size=4), st.sampled_from(KINDS), st.integers(0, 9), st.integers(1, 63))
def test_parts_add_up_to_the_whole(cuts: list[int], kind: torch.dtype, seed: int, odd: int) -> None:
    """Parts begin at multiples of 64 elements. The whole has more than two rows of weights, and an odd end."""
    whole = tensor(2 * checksum.ROW * 8 // torch.empty(0, dtype=kind).element_size() + odd, kind, seed)
    borders = [0, *sorted(64 * cut for cut in cuts), len(whole)]
    parts = [word(whole[a:b], a) for a, b in pairwise(borders) if a <= b]
    assert sum(parts) % 2**64 == word(whole)


@given(st.integers(0, 9), st.integers(0, 3 * checksum.ROW), st.integers(1, checksum.ROW))
def test_a_gpu_s_form_has_the_same_sum(seed: int, start: int, rest: int) -> None:
    words = tensor(2 * checksum.ROW + rest, torch.int64, seed)
    assert checksum.on_gpu(words.view(torch.uint8)[3:3]) == 0  # of a rank that owns nothing of a tensor
    for one in (words, words.view(torch.uint8)[: len(words) * 8 - 3], words.view(torch.float32)[1:]):
        begin = start * 8 // one.element_size()
        assert checksum.unsigned(int(checksum.on_gpu(one, begin))) == word(one, begin)


def test_numbers_that_change_places_show_and_memory_with_gaps_is_read_in_order() -> None:
    one = tensor(3 * checksum.ROW, torch.float32, 1).view(3, -1)
    assert word(one) != word(one[[1, 0, 2]])
    turned = one[:, :100].t()
    assert word(turned) == word(turned.contiguous())
    assert word(one.view(-1)[1:]) == word(one.view(-1)[1:].clone())


class Alone(Ranks):
    """One of several ranks that asks nobody: what it would add to the others' words."""

    def count(self, counts: Tensor) -> Tensor:
        return counts


class NoRows:
    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        return []

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        return []


@pytest.mark.parametrize("objective", ["moe", "next_token"])  # under Muon and AdamW
def test_a_flipped_bit_in_any_tensor_of_the_optimizer_shows_in_its_own_word(objective: str) -> None:
    """Moments, the average of the weights and counts of steps: all of a checkpoint's optimizer state."""
    stage = tiny.make(objective)
    modules = build(stage)
    assert stage.optimizer is not None
    cfg = stage.optimizer.model_copy(update={"ema": 0.5})
    optimizer = Optimizer(cfg, trained_slots(modules, stage.trained, cfg))
    sums = StateSums(modules, optimizer, NoRows())
    gradients = [torch.zeros_like(parameter) for parameter in optimizer.parameters]

    def words() -> dict[str, str]:
        sums.rows.samples(0, 0, 0)
        sums.take(Step(0, 0, 1, 0, 1, 0), gradients)
        return sums.found()

    before, state = words(), {name: one for name, one in optimizer.state().items() if one.ndim}
    assert sum(name.endswith(f".{AVERAGE}") for name in state) == len(gradients)
    for name, kept in state.items():
        kept.view(-1)[-1:].view(torch.uint8)[0] ^= 1
        after = words()
        assert {one for one in before if before[one] != after[one]} == {name}
        before = after
    for module in optimizer._steps:
        optimizer._steps[module] ^= 1 << 20
        after = words()
        assert {one for one in before if before[one] != after[one]} == {f"{module}.{STEP}"}
        before = after


@pytest.mark.parametrize("objective", ["moe", "align"])  # Muon's whole matrices and a router's bias; what is frozen
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_ranks_own_parts_of_every_tensor_that_a_step_computes_with(objective: str, ranks: int) -> None:
    stage = tiny.make(objective)
    modules = build(stage)
    freeze(stage, modules)
    cfg = stage.optimizer
    assert cfg is not None
    gradients = [torch.randn_like(one) for _, one in modules.named_parameters() if one.requires_grad]

    def words(rank: int, size: int) -> dict[str, int]:
        here = Alone(rank, size)
        optimizer = Optimizer(cfg, trained_slots(modules, stage.trained, cfg), here)
        sums = StateSums(modules, optimizer, NoRows(), here)
        sums.rows.samples(0, 0, 0)
        sums.take(Step(0, 0, 1, 0, 1, 0), gradients)
        assert tuple(sums.found()) == columns(modules, optimizer, here)[1:]
        return {name: int(word, 16) for name, word in sums.found().items() if name not in ("rows", *optimizer.counts())}

    whole, parts = words(0, 1), [words(rank, ranks) for rank in range(ranks)]
    assert {name: sum(part[name] for part in parts) % 2**64 for name in whole} == whole
    assert set(modules.state_dict()) <= set(whole)
    assert len({name for name in whole if name.endswith(".gradient")}) == len(gradients)


def test_a_run_writes_them_and_a_resumed_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.engines.training.PhaseData", tiny.Data)
    monkeypatch.setattr(partials, "clear", lambda *_: None)
    stage, given_ = tiny.make("moe"), tiny.inputs(tmp_path)
    run(stage, given_)
    place = given_.layout.stage(BOX)
    whole, metrics = (place / checkpoint.CHECKSUMS).read_bytes(), (place / checkpoint.METRICS).read_bytes()
    rows = list(csv.DictReader(whole.decode().splitlines()))
    assert [row["step"] for row in rows] == [row["step"] for row in csv.DictReader(metrics.decode().splitlines())]
    assert all(len(word) == 16 for row in rows for name, word in row.items() if name != "step")
    assert [int(row["llm.step"], 16) for row in rows] == [int(row["step"]) - 1 for row in rows]
    changing = {name for name in rows[0] if len({row[name] for row in rows}) == len(rows)}
    assert set(rows[0]) - changing <= {name for name in rows[0] if "e_score" in name or ".experts." in name}
    assert checkpoint.CHECKSUMS in seal.read(place).files  # so a signature covers them, and no key or manifest does
    assert checkpoint.CHECKSUMS not in (place / "manifest.json").read_text()
    shutil.rmtree(place)
    run(stage, given_)  # from its last checkpoint
    assert (place / checkpoint.CHECKSUMS).read_bytes() == whole
    for folder in given_.layout.run(given_.key).glob("attempt-*/partial-*"):  # as one of before there were checksums
        (folder / checkpoint.CHECKSUMS).unlink()
        listing = partials.Listing.model_validate_json((folder / partials.NAME).read_text())
        kept = {name: digest for name, digest in listing.files.items() if name != checkpoint.CHECKSUMS}
        (folder / partials.NAME).write_text(listing.model_copy(update={"files": kept}).model_dump_json())
    shutil.rmtree(place)
    run(stage, given_)
    later = (place / checkpoint.CHECKSUMS).read_bytes()
    assert whole.startswith(later.partition(b"\n")[0])
    assert whole.endswith(later.partition(b"\n")[2])
    assert 1 < later.count(b"\n") < whole.count(b"\n")
    assert (place / checkpoint.METRICS).read_bytes() == metrics


def test_no_checksums_are_taken_where_no_equal_bits_are_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.engines.training.PhaseData", tiny.Data)
    stage = tiny.make("next_token")
    fast = stage.model_copy(update={"execution": stage.execution.model_copy(update={"determinism": "fast"})})
    run(fast, tiny.inputs(tmp_path))
    place = tiny.inputs(tmp_path).layout.stage(BOX)
    assert not (place / checkpoint.CHECKSUMS).exists()


def test_gradients_are_summed_before_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a flipped bit in one of them shows in its word alone, though the clip scales them all by the norm."""
    monkeypatch.setattr("stages.engines.training.PhaseData", tiny.Data)
    made, first, second = tiny.make("next_token"), list[list[str]](), list[list[str]]()
    assert made.optimizer is not None
    for clip in (None, 1e-3):
        inputs = tiny.inputs(tmp_path / str(clip))
        run(made.model_copy(update={"optimizer": made.optimizer.model_copy(update={"clip": clip})}), inputs)
        rows = csv.DictReader((inputs.layout.stage(BOX) / checkpoint.CHECKSUMS).read_text().splitlines())
        for row, kept in zip(rows, (first, second), strict=False):
            kept.append([word for name, word in row.items() if name.endswith(".gradient")])
    assert first[0] == first[1]
    assert second[0] != second[1]
