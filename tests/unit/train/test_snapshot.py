"""The copy that a checkpoint is written from while training goes on."""

from __future__ import annotations

import pytest
import torch

from stages.train.snapshot import Snapshot

CPU = torch.device("cpu")
LIKE = {"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16), "c": torch.zeros((), dtype=torch.int64)}


def test_a_copy_has_every_tensor_in_its_type_and_shape_and_stays_as_it_was() -> None:
    live = {"a": torch.arange(15.0).view(3, 5), "b": torch.arange(7).bfloat16(), "c": torch.tensor(9)}
    wanted = {name: tensor.clone() for name, tensor in live.items()}
    copied = Snapshot(LIKE, CPU).take(live.items())
    for tensor in live.values():
        tensor.zero_()
    assert {name: (one.dtype, one.tolist()) for name, one in copied.items()} == {
        name: (one.dtype, one.tolist()) for name, one in wanted.items()
    }


@pytest.mark.parametrize("other", [torch.zeros(5), torch.zeros(3, 5).bfloat16(), torch.zeros(1, 5)])
def test_a_tensor_of_another_shape_or_type_is_refused(other: torch.Tensor) -> None:
    """Some of them torch would copy, in other numbers than were asked for."""
    with pytest.raises(ValueError, match=r"^a is torch\.\w+ \[.*\], copied into \[3, 5\]$"):
        Snapshot(LIKE, CPU).take([("a", other)])
