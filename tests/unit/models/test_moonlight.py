"""The router's bookkeeping: counts, balance loss, bias rule; experts one by one."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.models.build import initialise, make
from stages.models.experts import Experts
from stages.models.moe import balance_loss, balanced
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.resolved_models import Rope
from tests.unit.models.rows import documents

CFG = MoonlightModel(
    family="moonlight", layers=3, dense_layers=1, hidden=16, ffn=24, heads=2, vocab=31, kv_lora_rank=8, qk_nope_dim=8,
    qk_rope_dim=4, v_head_dim=8, experts=8, active_experts=2, shared_experts=1, expert_ffn=12, routed_scale=2.446,
    norm_eps=1e-5, tied=False, init_std=0.2,
)  # fmt: skip
ROPE = Rope(base=50_000.0, llama3=None, interpolation=1.0)
POSITIONS = torch.arange(10).expand(3, -1)


@pytest.fixture
def model() -> Any:
    module = make(CFG, ROPE, "cpu")
    initialise(module, "llm", CFG, 1)
    return module


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 31, (3, 10), generator=torch.Generator().manual_seed(0))


def test_counts_add_up_over_micro_batches_and_leave_padding_out(model: Any, tokens: Tensor) -> None:
    segments = torch.zeros(3, 10, dtype=torch.int32)
    segments[1, 6:] = -1
    model(tokens, POSITIONS, None, None)
    model(tokens, POSITIONS, documents(segments), None)
    counts = model.router_counts()
    assert counts.dtype == torch.int64
    assert counts.shape == (2, 8)
    assert counts.sum(dim=1).tolist() == [(30 + 26) * 2] * 2
    model.eval()(tokens, POSITIONS, None, None)
    assert torch.equal(model.router_counts(), counts)
    model.reset_router_counts()
    assert not model.router_counts().any()


def test_what_stands_in_padding_changes_neither_counts_nor_loss(model: Any, tokens: Tensor) -> None:
    segments = torch.zeros(3, 10, dtype=torch.int32)
    segments[:, 7:] = -1
    other = torch.where(segments < 0, (tokens + 5) % 31, tokens)
    seen = []
    for batch in (tokens, other):
        model.reset_router_counts()
        model(batch, POSITIONS, documents(segments), None)
        seen.append((model.router_counts(), model.aux_loss()))
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])


def test_bias_rule_by_hand() -> None:
    bias = torch.zeros(1, 4)
    counts = torch.tensor([[10, 2, 4, 4]])  # mean 5: errors -, +, +, +; mean sign 0.5
    assert balanced(bias, counts, 0.001)[0].tolist() == pytest.approx([-0.0015, 0.0005, 0.0005, 0.0005])
    even = torch.tensor([[5, 5, 5, 5]])
    assert not balanced(bias, even, 0.001).any()


def test_bias_moves_layer_by_layer_and_is_saved(model: Any, tokens: Tensor) -> None:
    model(tokens, POSITIONS, None, None)
    counts = model.router_counts()
    model.update_router_bias(counts, 0.01)
    biases = [t for name, t in model.state_dict().items() if name.endswith("mlp.gate.e_score_correction_bias")]
    assert len(biases) == 2
    for bias, load in zip(biases, counts, strict=True):
        assert bias.sum().item() == pytest.approx(0.0, abs=1e-7)
        assert bias[load.argmax()] < 0 < bias[load.argmin()]
    assert not any(name.endswith("counts") for name in model.state_dict())


@pytest.mark.parametrize("seed", [1, 2])
def test_balance_loss_is_the_papers_formula(seed: int) -> None:
    scores = torch.rand(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    want = 0.0
    for i in range(4):
        f = sum(i in row.sort(descending=True).indices[:2].tolist() for row in scores) * 4 / (2 * 7)
        want += f * sum((row[i] / row.sum()).item() for row in scores) / 7
    assert balance_loss(scores, 2).item() == pytest.approx(want)
    assert abs(want - 1) > 0.01, "an uneven load: of an even one every choice of experts gives 1"
    even = torch.eye(4).repeat(3, 1) + 0.1
    assert balance_loss(even, 1).item() == pytest.approx(1.0)


def test_auxiliary_loss_reaches_the_router_only_through_scores(model: Any, tokens: Tensor) -> None:
    with pytest.raises(ValueError, match="no training forward"):
        model.aux_loss()
    model(tokens, POSITIONS, None, None)
    model.aux_loss().backward()
    gate = model.model.layers[-1].mlp.gate
    assert gate.weight.grad.abs().sum() > 0
    assert model.model.layers[-1].mlp.experts.up_proj.grad is None


def test_grouped_experts_equal_one_expert_at_a_time() -> None:
    generator = torch.Generator().manual_seed(0)
    experts = Experts(CFG.hidden, CFG.experts, CFG.expert_ffn)
    for parameter in experts.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    x = torch.randn(20, 16, generator=generator, requires_grad=True)
    chosen = torch.randint(0, 7, (20, 2), generator=generator)  # expert 7 gets no token
    chosen[:, 1] = (chosen[:, 0] + 1) % 7
    weights = torch.rand(20, 2, generator=generator, requires_grad=True)
    want = torch.zeros(20, 16)
    for token in range(20):
        for slot in range(2):
            gate, up, down = (
                matrix[chosen[token, slot]] for matrix in (experts.gate_proj, experts.up_proj, experts.down_proj)
            )
            want[token] += weights[token, slot] * (down @ (F.silu(gate @ x[token]) * (up @ x[token])))
    got = experts(x, chosen, weights)
    torch.testing.assert_close(got, want)
    leaves = (x, weights, *experts.parameters())
    for mine, other in zip(
        torch.autograd.grad(got.square().sum(), leaves), torch.autograd.grad(want.square().sum(), leaves), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
