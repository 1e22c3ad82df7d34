"""A tensor's checksum on the device is the one of its bytes on a CPU, for any part of it, and waits for nothing."""

from __future__ import annotations

import pytest
import torch

from stages.train import checksum
from tests.cuda.test_waiting import waiting_raises


@pytest.mark.parametrize("size", [1, 7, 3 * checksum.ROW + 64, 1 << 22])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_words_of_a_device_are_those_of_its_bytes(device: torch.device, size: int, kind: torch.dtype) -> None:
    tensor = torch.randn(size, device=device).to(kind)
    checksum.on_gpu(tensor)  # the table of weights is made once
    with waiting_raises(device):
        found = checksum.on_gpu(tensor), checksum.on_gpu(tensor[64:], 64)
    for one, part, start in zip(found, (tensor, tensor[64:]), (0, 64), strict=True):
        assert checksum.unsigned(int(one)) == checksum.of_pieces(*checksum.pieces(part.cpu(), start))
