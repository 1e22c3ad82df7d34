"""Every kind of objective on the GPU: it does what the CPU does, and the same bits twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.models import flash4
from stages.models.ops import choice
from tests.cuda import stages
from tests.rounding import BF16
from tests.unit.train import tiny

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", stages.KINDS)
def test_the_first_step_is_the_cpus(kind: str, device: torch.device, tmp_path: Path, made_up_data: None) -> None:
    """In fp32, before rounding differences have been through an update: the tier same-order's tolerance."""
    made = stages.cut(tiny.make(kind), 1)
    ours = stages.losses(stages.train(stages.on(made, device), tmp_path / "device"))
    plain = stages.losses(stages.train(stages.on(made, CPU), tmp_path / "cpu"))
    assert len(ours) == len(plain) == 1
    off = [abs(one - other) / abs(other) for one, other in zip(ours[0], plain[0], strict=True)]
    assert max(off) <= 1e-5, f"(loss, norm) {ours[0]} beside the CPU's {plain[0]}: {off} relative"


@pytest.mark.parametrize("kind", stages.KINDS)
def test_the_first_step_in_bf16_is_the_cpus_in_fp32(
    kind: str, device: torch.device, tmp_path: Path, made_up_data: None
) -> None:
    """Logits are below 1/3 at first and rounded three times, of a loss near 4: a quarter of a unit. A gradient is
    rounded some sixteen times on its way, up or down: four units, of which a norm of many numbers sees at most half.
    """
    made = stages.cut(tiny.make(kind), 1)
    ours = stages.losses(stages.train(stages.on(made, device, "torch-bf16"), tmp_path / "device"))
    plain = stages.losses(stages.train(stages.on(made, CPU), tmp_path / "cpu"))
    loss, norm = (abs(one - other) / abs(other) for one, other in zip(ours[0], plain[0], strict=True))
    assert max(4 * loss, norm / 2) <= BF16, f"(loss, norm) {ours[0]} beside the CPU's {plain[0]}"


@pytest.mark.parametrize("precision", ["torch-fp32", "torch-bf16"])
@pytest.mark.parametrize("kind", stages.KINDS)
def test_the_same_bits_twice(
    kind: str, precision: stages.Precision, device: torch.device, tmp_path: Path, made_up_data: None
) -> None:
    made = stages.on(tiny.make(kind), device, precision)
    one, other = (stages.train(made, tmp_path / name) for name in ("one", "other"))
    assert not stages.differences(one, other)
    assert any(name.startswith("model/") for name in stages.digests(one))


def test_wide_heads_attend_by_flash_attention_4_where_it_is_installed(
    device: torch.device, tmp_path: Path, made_up_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the tests of this kind are about it, in bf16; with documents in rows, kept and recomputed."""
    calls: list[bool] = []
    wrapped = flash4.attend

    def attend(*given: Any) -> torch.Tensor:
        calls.append(given[3] is not None)
        return wrapped(*given)

    monkeypatch.setattr(flash4, "attend", attend)
    made = stages.on(stages.cut(tiny.make("wide heads"), 2), device, "torch-bf16")
    again = stages.on(made, device, "torch-bf16", activations="recomputed")
    kept, recomputed = (stages.train(one, tmp_path / name) for one, name in ((made, "kept"), (again, "recomputed")))
    assert not stages.differences(kept, recomputed)
    assert set(calls) == ({True} if "flash4" in choice.features() else set())
