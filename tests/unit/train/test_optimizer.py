"""The optimizer of a stage: AdamW's numbers, what is clipped, what is decayed, and taking state over."""

import math
from copy import deepcopy
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stages.errors import UserError
from stages.models.ops import Update
from stages.models.ops.multi_tensor import torch_adamw
from stages.spec.resolved_training import AdamW, Group, Muon
from stages.train import adamw
from stages.train.adamw import foreach_adamw
from stages.train.optimizer import Clipped, Optimizer
from stages.train.param_groups import Slot, matrix_names, trained_slots
from tests.unit.train.tiny import ADAMW, MUON, unclipped


def make(cfg: AdamW | Muon, trained: tuple[str, ...] = ("llm", "vit")) -> Optimizer:
    torch.manual_seed(0)
    modules = nn.ModuleDict({"llm": nn.Linear(3, 5), "vit": nn.Linear(3, 2)})
    return Optimizer(cfg, trained_slots(modules, trained, cfg))


def random_gradients(optimizer: Optimizer, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(parameter.shape, generator=generator) for parameter in optimizer.parameters]


@given(
    clip=st.sampled_from([None, 1e-4, 1.0, 1e6]),
    decay=st.sampled_from(["all", "matrices"]),
    weight_decay=st.sampled_from([0.0, 0.1, 5.0]),
    eps=st.sampled_from([1e-8, 1e-3]),
    groups=st.booleans(),
    size=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
)
@settings(max_examples=25, deadline=None)
def test_adamw_with_its_clip_is_torchs(
    clip: float | None, decay: str, weight_decay: float, eps: float, groups: bool, size: float
) -> None:
    """`torch.optim.AdamW` of one group a parameter after `clip_grad_norm_`, three steps of gradients of this size."""
    fields = {"clip": clip, "decay": decay, "weight_decay": weight_decay, "eps": eps}
    ours = grouped(ADAMW.model_copy(update={**fields, "groups": GROUPED if groups else None}))
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in ours.parameters]
    moved = [(copy, multiples(slot) if groups else (1.0, 1.0)) for slot, copy in zip(ours.slots, copies, strict=True)]
    decays = [by * weight_decay if decay == "all" or copy.ndim == 2 else 0.0 for copy, (_, by) in moved]
    each = [{"params": [copy], "weight_decay": number} for copy, number in zip(copies, decays, strict=True)]
    theirs = torch.optim.AdamW(each, betas=(0.9, 0.95), eps=eps, foreach=False)
    for step in range(3):
        lr = 0.01 * (step + 1)
        gradients = [size * gradient for gradient in random_gradients(ours, step)]
        for copy, gradient, group, (_, (by, _)) in zip(copies, gradients, theirs.param_groups, moved, strict=True):
            copy.grad, group["lr"] = gradient.clone(), lr * by
        norm = nn.utils.clip_grad_norm_(copies, math.inf if clip is None else clip)
        theirs.step()
        clipped = ours.clip(gradients)
        assert float(clipped.norm) == pytest.approx(float(norm), rel=1e-6)
        ours.step(clipped, lr)
    for parameter, copy in zip(ours.parameters, copies, strict=True):
        torch.testing.assert_close(parameter, copy, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [None, torch.tensor(0.3)], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("weight_decay", [0.0, 2.5])
@pytest.mark.parametrize("step", [1, 1000])
def test_the_fused_kernel_that_gpus_use_is_the_plain_form(
    step: int, weight_decay: float, factor: torch.Tensor | None
) -> None:
    """On a CPU, which has the kernel too; its terms are the plain form's, each rounded a few times."""
    generator = torch.Generator().manual_seed(step)
    p, g, m, v = ([torch.randn(shape, generator=generator) for shape in ((7, 5), (64,))] for _ in range(4))
    given = (p, g, m, [tensor.square() for tensor in v])
    fused, plain = deepcopy(given), deepcopy(given)
    for update, lists in ((torch_adamw, fused), (foreach_adamw, plain)):
        update(*lists, Update(step, 0.01, 0.9, 0.95, 1e-8, weight_decay, factor))
    for ours, theirs in zip(chain(*fused), chain(*plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=8 * torch.finfo(torch.float32).eps, atol=1e-7)
    assert not torch.equal(fused[0][0], given[0][0])


@pytest.mark.parametrize("at_once", [1, 30, 99, 100, 1000])
def test_adamw_of_a_few_tensors_at_a_time_has_the_bits_of_all_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((7, 5), (64,), (0,), (3, 11), (1,))
    p, g, m, v = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(4))
    given = (p, g, m, [tensor.square() for tensor in v])
    few, all_at_once = deepcopy(given), deepcopy(given)
    for most, lists in ((at_once, few), (10**9, all_at_once)):
        monkeypatch.setattr(adamw, "AT_ONCE", most)
        foreach_adamw(*lists, Update(3, 0.01, 0.9, 0.95, 1e-8, 0.1, torch.tensor(0.3)))
    assert all(map(torch.equal, chain(*few), chain(*all_at_once)))
    assert not any(torch.equal(a, b) for a, b in zip(few[0], given[0], strict=True) if a.numel())


def test_only_trained_modules_have_slots() -> None:
    assert {slot.module for slot in make(ADAMW, ("vit",)).slots} == {"vit"}


def test_decay_of_matrices_leaves_biases_alone() -> None:
    optimizer = make(ADAMW.model_copy(update={"decay": "matrices"}))
    before = [parameter.detach().clone() for parameter in optimizer.parameters]
    optimizer.step(unclipped([torch.zeros_like(parameter) for parameter in optimizer.parameters]), 0.5)
    for parameter, old in zip(optimizer.parameters, before, strict=True):
        assert torch.equal(parameter, old * (0.95 if parameter.ndim == 2 else 1.0))


def scaled(optimizer: Optimizer, gradients: list[torch.Tensor]) -> Clipped:
    """A step by gradients, which are scaled in place; what it was clipped by."""
    clipped = optimizer.clip(gradients)
    assert clipped.gradients is gradients
    optimizer.step(clipped, 0.1)
    return clipped


def test_adamw_clips_the_global_norm() -> None:
    optimizer = make(ADAMW)
    gradients = [torch.full_like(parameter, 3.0) for parameter in optimizer.parameters]
    expected = 3.0 * sum(parameter.numel() for parameter in optimizer.parameters) ** 0.5
    assert float(scaled(optimizer, gradients).norm) == pytest.approx(expected)
    assert float(torch.cat([gradient.flatten() for gradient in gradients]).norm()) == pytest.approx(1.0, rel=1e-5)


def test_the_norm_is_known_before_anything_is_scaled() -> None:
    optimizer = make(ADAMW)
    gradients = random_gradients(optimizer, 5)
    optimizer.clip(gradients)
    assert all(map(torch.equal, gradients, random_gradients(optimizer, 5)))


def test_clipping_is_torchs() -> None:
    optimizer = make(ADAMW)
    gradients = random_gradients(optimizer, 5)
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in optimizer.parameters]
    for copy, gradient in zip(copies, gradients, strict=True):
        copy.grad = gradient.clone()
    nn.utils.clip_grad_norm_(copies, 1.0)
    scaled(optimizer, gradients)
    for copy, gradient in zip(copies, gradients, strict=True):
        torch.testing.assert_close(gradient, copy.grad, rtol=2e-7, atol=0)


def test_a_small_gradient_is_not_clipped() -> None:
    optimizer = make(ADAMW)
    gradients = [torch.full_like(parameter, 1e-3) for parameter in optimizer.parameters]
    scaled(optimizer, gradients)
    assert all(torch.equal(gradient, torch.full_like(gradient, 1e-3)) for gradient in gradients)


@pytest.mark.parametrize("cfg", [ADAMW, MUON], ids=["adamw", "muon"])
def test_without_a_clip_gradients_stay_as_they_are_and_their_norm_is_known(cfg: AdamW | Muon) -> None:
    optimizer = make(cfg.model_copy(update={"clip": None}))
    gradients = [torch.full_like(parameter, 3.0) for parameter in optimizer.parameters]
    norm = scaled(optimizer, gradients).norm
    assert all(torch.equal(gradient, torch.full_like(gradient, 3.0)) for gradient in gradients)
    assert float(norm) == pytest.approx(3.0 * sum(gradient.numel() for gradient in gradients) ** 0.5, rel=1e-6)


def test_muon_clips_adamws_group_only() -> None:
    optimizer = make(MUON)
    gradients = [torch.full_like(parameter, 3.0) for parameter in optimizer.parameters]
    scaled(optimizer, gradients)
    matrices = [g for g, slot in zip(gradients, optimizer.slots, strict=True) if slot.muon]
    rest = [g for g, slot in zip(gradients, optimizer.slots, strict=True) if not slot.muon]
    assert matrices
    assert all(torch.equal(gradient, torch.full_like(gradient, 3.0)) for gradient in matrices)
    assert float(torch.cat(rest).norm()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("cfg", [ADAMW, MUON], ids=["adamw", "muon"])
def test_state_taken_over_goes_on_bit_for_bit(cfg: AdamW | Muon) -> None:
    first, second = make(cfg), make(cfg)
    first.step(unclipped(random_gradients(first, 1)), 0.1)
    saved = {name: tensor.clone() for name, tensor in first.state().items()}
    for module in ("llm", "vit"):
        second.load(saved, module, "parent")
    with torch.no_grad():
        for ours, theirs in zip(second.parameters, first.parameters, strict=True):
            ours.copy_(theirs)
    for optimizer in (first, second):
        optimizer.step(unclipped(random_gradients(optimizer, 2)), 0.1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, second.parameters, strict=True))
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in first.state().items())


def test_one_module_is_inherited_and_the_other_starts_anew() -> None:
    parent, child = make(ADAMW), make(ADAMW)
    parent.step(unclipped(random_gradients(parent, 1)), 0.1)
    child.load(parent.state(), "llm", "parent")
    assert int(child.state()["llm.step"]) == 1
    assert int(child.state()["vit.step"]) == 0
    assert not child.state()["vit.weight.exp_avg"].any()


def test_state_of_another_optimizer_is_refused() -> None:
    with pytest.raises(UserError, match=r"p/s: optimizer state of module 'llm' does not fit.*optimizer: reset"):
        make(ADAMW).load(make(MUON).state(), "llm", "p/s")


def test_missing_state_is_refused() -> None:
    with pytest.raises(UserError, match="absent"):
        make(ADAMW).load({}, "llm", "p/s")


def test_a_refused_state_says_the_first_name_that_differs_what_it_is_and_how_many_do() -> None:
    ours = make(ADAMW)
    state = {**ours.state(), "llm.weight.exp_avg": torch.zeros(2, 2), "llm.weight.exp_avg_sq": torch.zeros(1)}
    with pytest.raises(UserError) as caught:
        ours.load(state, "llm", "p/s")
    assert str(caught.value) == (
        "p/s: optimizer state of module 'llm' does not fit: llm.weight.exp_avg is (2, 2), wanted (5, 3) "
        "(2 names differ). Write `optimizer: reset` for this module, or keep the optimizer."
    )
    with pytest.raises(UserError, match=r"llm.bias.exp_avg is absent, wanted \(5,\) \(1 names differ\)"):
        ours.load({name: value for name, value in ours.state().items() if name != "llm.bias.exp_avg"}, "llm", "p/s")
    with pytest.raises(UserError, match=r"llm.more is \(1,\), wanted absent \(1 names differ\)"):
        ours.load({**ours.state(), "llm.more": torch.zeros(1)}, "llm", "p/s")


@pytest.mark.parametrize(("cfg", "groups"), [(ADAMW, {"llm", "vit"}), (MUON, {"llm", "vit", "muon"})])
def test_every_group_has_the_rate_of_the_step(cfg: AdamW | Muon, groups: set[str]) -> None:
    assert make(cfg).rates(0.25) == dict.fromkeys(groups, 0.25)


def test_what_takes_no_gradient_has_no_slot_and_slots_say_what_moves_them() -> None:
    modules = nn.ModuleDict({"llm": nn.Linear(3, 5), "vit": nn.Linear(3, 2)})
    modules["llm"].weight.requires_grad = False
    slots = trained_slots(modules, ("llm", "vit"), MUON)
    assert [(slot.module, slot.name, slot.muon) for slot in slots] == [
        ("llm", "llm.bias", False), ("vit", "vit.weight", True), ("vit", "vit.bias", False),
    ]  # fmt: skip
    assert not any(slot.muon for slot in trained_slots(modules, ("llm", "vit"), ADAMW))


def test_a_module_that_is_an_embedding_has_no_matrices() -> None:
    assert matrix_names(nn.Embedding(4, 3)) == set()
    assert matrix_names(nn.Linear(4, 3)) == {"weight"}


def test_muon_moves_neither_tables_nor_the_output_matrix() -> None:
    assert {slot.name for slot in grouped(MUON).slots if slot.muon} == {"llm.layer.weight", "vit.layer.weight"}


def test_steps_are_counted_from_zero_and_by_module() -> None:
    optimizer = make(ADAMW)
    assert [int(optimizer.state()[f"{module}.step"]) for module in ("llm", "vit")] == [0, 0]
    for seed in range(3):
        optimizer.step(unclipped(random_gradients(optimizer, seed)), 0.1)
    assert [int(optimizer.state()[f"{module}.step"]) for module in ("llm", "vit")] == [3, 3]
    assert not any(tensor.requires_grad for tensor in optimizer.state().values())


GROUPED = (
    Group(name="tables", modules=None, of=("embeddings",), lr=1.0, weight_decay=0.0),
    Group(name="tower", modules=("vit",), of=("matrices", "vectors"), lr=0.25, weight_decay=2.0),
)


@pytest.mark.parametrize("cfg", [ADAMW, MUON], ids=["adamw", "muon"])
def test_a_group_is_moved_and_decayed_by_its_multiples_and_what_is_in_none_as_before(cfg: AdamW | Muon) -> None:
    """As optimizers that each have these figures for all of their parameters."""
    plain = cfg.model_copy(update={"decay": "all"})
    made, alone = grouped(plain.model_copy(update={"groups": GROUPED})), grouped(plain)
    tables = grouped(plain.model_copy(update={"weight_decay": 0.0}))
    assert isinstance(plain.weight_decay, float)
    tower = grouped(plain.model_copy(update={"weight_decay": 2 * plain.weight_decay}))
    for seed in range(3):
        gradients = random_gradients(made, seed)
        for one, lr in ((made, 0.1), (alone, 0.1), (tables, 0.1), (tower, 0.025)):
            one.step(unclipped([gradient.clone() for gradient in gradients]), lr)
    for number, slot in enumerate(made.slots):
        other = tables if slot.part == "embeddings" else tower if slot.module == "vit" else alone
        assert torch.equal(slot.parameter, other.slots[number].parameter), slot.name
    assert {slot.part for slot in made.slots} == {"embeddings", "matrices", "vectors", "head"}
    assert made.rates(0.1)["vit of tower"] == 0.1 * 0.25


def multiples(slot: Slot) -> tuple[float, float]:
    """What GROUPED multiplies the rate and the decay of a parameter by."""
    return next(((group.lr, group.weight_decay) for group in GROUPED if group.has(slot.module, slot.part)), (1.0, 1.0))


def grouped(cfg: AdamW | Muon) -> Optimizer:
    torch.manual_seed(0)
    llm = nn.ModuleDict({"table": nn.Embedding(6, 4), "layer": nn.Linear(4, 4), "lm_head": nn.Linear(4, 6, bias=False)})
    modules = nn.ModuleDict({"llm": llm, "vit": nn.ModuleDict({"table": nn.Embedding(3, 4), "layer": nn.Linear(4, 2)})})
    return Optimizer(cfg, trained_slots(modules, ("llm", "vit"), cfg))
