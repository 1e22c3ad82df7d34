"""The exits of a looped model (Ouro, arXiv 2510.25741, section 3.2): the probability of leaving after each loop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_exit_distribution(gates: list[Tensor]) -> Tensor:
    """log p [loops, ...] of leaving after each loop, from gate logits [...] (arXiv 2510.25741, section 3.2).

    p_t = sigmoid(g_t) * prod over j < t of (1 - sigmoid(g_j)); the last loop takes what remains, whatever its gate
    says. In logarithms, so that a saturated gate gives no log 0 in the entropy.
    """
    stayed = torch.zeros_like(gates[0])
    steps = []
    for gate in gates[:-1]:
        steps.append(stayed + F.logsigmoid(gate))
        stayed = stayed + F.logsigmoid(-gate)  # log(1 - sigmoid(g)); that difference is 0 for a large g
    return torch.stack([*steps, stayed])


def exit_distribution(gates: list[Tensor]) -> Tensor:
    """Probability [loops, ...] of leaving after each loop; sums to 1 over the loops."""
    return log_exit_distribution(gates).exp()
