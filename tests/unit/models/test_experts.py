"""The routed experts' products: in one grouped product as on a GPU, and one by one as on a CPU, with one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from stages.models.experts import BLOCK, Experts, by_expert, by_expert_bounded
from stages.models.ops import choice
from stages.spec.families.moonlight import MoonlightModel
from tests.rounding import BF16, noise

CFG = MoonlightModel(
    family="moonlight", layers=1, dense_layers=0, hidden=16, ffn=24, heads=2, vocab=31, kv_lora_rank=8, qk_nope_dim=8,
    qk_rope_dim=4, v_head_dim=8, experts=8, active_experts=3, shared_experts=1, expert_ffn=24, routed_scale=2.446,
    norm_eps=1e-5, tied=False, init_std=0.2,
)  # fmt: skip
TOKENS = 50
NEVER, ALWAYS = 5, 2  # an expert that no token takes, and one that every token takes
Take = Callable[..., Tensor]


@pytest.fixture
def experts() -> Experts:
    made = Experts(CFG.hidden, CFG.experts, CFG.expert_ffn)
    for parameter in made.parameters():
        parameter.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def chosen() -> Tensor:
    """Three different experts a token, int64 [TOKENS, 3]."""
    others = torch.tensor([expert for expert in range(CFG.experts) if expert not in (NEVER, ALWAYS)])
    generator = torch.Generator().manual_seed(2)
    rows = [others[torch.randperm(len(others), generator=generator)[:2]].tolist() for _ in range(TOKENS)]
    return torch.tensor([[ALWAYS, *row] for row in rows])


@pytest.fixture
def take(experts: Experts, chosen: Tensor, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Output and all gradients, end to end in one vector, by an implementation; in bf16 if asked for."""
    generator = torch.Generator().manual_seed(3)
    x, weights, outer = (torch.randn(TOKENS, size, generator=generator) for size in (CFG.hidden, 3, CFG.hidden))
    x.requires_grad_()
    weights.requires_grad_()

    def taken(how: str, bf16: bool = False) -> Tensor:
        monkeypatch.setattr(choice, "experts", lambda *_: how)
        with torch.enable_grad():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                out = experts(x, chosen, weights)
            grads = torch.autograd.grad((out.float() * outer).sum(), [x, weights, *experts.parameters()])
        assert all(grad.dtype == torch.float32 for grad in grads)
        return torch.cat([part.detach().float().flatten() for part in (out, *grads)])

    return taken


def test_the_grouped_product_is_the_loop(experts: Experts, take: Take) -> None:
    loop, grouped = take("loop"), take("grouped_mm")
    assert (grouped - loop).abs().max() <= noise(experts, lambda: take("loop"), TOKENS)


def test_in_bf16_too(experts: Experts, take: Callable[..., Tensor]) -> None:
    exact, loop, grouped = take("loop"), take("loop", bf16=True), take("grouped_mm", bf16=True)
    # Four products of three roundings each, three of them by matrices; the largest of a few draws is not the largest.
    allowed = 2 * noise(experts, lambda: take("loop"), 4, BF16)
    assert (loop - exact).abs().max() <= allowed
    assert (grouped - exact).abs().max() <= allowed
    assert not torch.equal(grouped, exact)


def test_an_expert_without_tokens_gets_a_gradient_of_zero(
    experts: Experts, chosen: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "experts", lambda *_: "grouped_mm")
    experts(torch.ones(TOKENS, CFG.hidden), chosen, torch.ones(chosen.shape)).square().sum().backward()
    for parameter in experts.parameters():
        assert parameter.grad is not None
        assert not parameter.grad[NEVER].any()
        assert parameter.grad[ALWAYS].all()


def test_filling_is_never_seen(experts: Experts, chosen: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's kernels may leave anything in places that are no token's."""
    monkeypatch.setattr(choice, "experts", lambda *_: "grouped_mm")
    x = torch.ones(TOKENS, CFG.hidden, requires_grad=True)
    layout = by_expert_bounded(chosen.flatten(), CFG.experts)
    products = Experts._grouped

    def poisoned(self: Experts, rows: Tensor, where: object) -> Tensor:
        return torch.where(layout.real, products(self, rows, layout), torch.nan)

    found = []
    for kernel in (products, poisoned):
        monkeypatch.setattr(Experts, "_grouped", kernel)
        out = experts(x, chosen, torch.ones(chosen.shape))
        found.append((out, *torch.autograd.grad(out.square().sum(), [x, *experts.parameters()])))
    assert all(torch.equal(mine, other) for mine, other in zip(*found, strict=True))


def counts(chosen: Tensor) -> list[int]:
    return [int((chosen == expert).sum()) for expert in range(CFG.experts)]


@pytest.mark.parametrize("pairs", [[], [3], [7] * 40, [0, 7] * BLOCK, list(range(8)) * 5])
def test_every_pair_has_its_place_at_its_expert(pairs: Sequence[int]) -> None:
    chosen = torch.tensor(pairs, dtype=torch.int64)
    exact, bounded = by_expert(chosen, CFG.experts), by_expert_bounded(chosen, CFG.experts)
    for layout in (exact, bounded):
        starts = [0, *layout.ends.tolist()]
        assert starts == sorted(starts)
        assert not any(start % BLOCK for start in starts)
        assert starts[-1] == len(layout.index) == len(layout.real)
        assert torch.equal(layout.index[layout.inverse], torch.arange(len(chosen)))
        assert int(layout.real.sum()) == len(chosen)
        for pair, place in enumerate(layout.inverse.tolist()):
            expert = pairs[pair]
            assert starts[expert] <= place < starts[expert + 1]
    assert exact.sizes == [-(-count // BLOCK) * BLOCK for count in counts(chosen)]
    assert bounded.sizes == []
    assert len(bounded.index) == -(-len(pairs) // BLOCK) * BLOCK + CFG.experts * BLOCK  # whatever the experts are
    assert bounded.ends.diff(prepend=torch.zeros(1, dtype=torch.int64)).min() >= BLOCK


BOTH = frozenset({"flash_varlen", "grouped_mm"})


@pytest.mark.parametrize(("device", "dtype", "widths", "has", "wanted"), [
    ("cuda", torch.bfloat16, (2048, 1408), BOTH, "grouped_mm"),
    ("cuda", torch.bfloat16, (2048, 1404), BOTH, "loop"),
    ("cuda", torch.bfloat16, (2044, 1408), BOTH, "loop"),
    ("cuda", torch.bfloat16, (2048, 1408), frozenset({"flash_varlen"}), "loop"),
    ("cuda", torch.float32, (2048, 1408), BOTH, "loop"),
    ("cpu", torch.bfloat16, (2048, 1408), BOTH, "loop"),
])  # fmt: skip
def test_which_way_the_products_are_taken(
    device: str, dtype: torch.dtype, widths: tuple[int, int], has: frozenset[choice.Feature], wanted: str
) -> None:
    assert choice.experts(device, dtype, *widths, has) == wanted
