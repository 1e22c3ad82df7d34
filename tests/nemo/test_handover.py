"""Weights and moments between Megatron's ranks and our names: bit-equal in every layout, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.engines.nemo import handover, parts
from stages.engines.nemo.gathering import Gathering, WrongCopyError
from stages.engines.nemo.layout import Below
from stages.engines.nemo.local import WEIGHT
from stages.models import build, hf, tensor_file
from stages.models.tensor_file import Stored
from stages.spec.resolved_training import AdamW, Muon
from tests.nemo import building, ranks
from tests.nemo.building import CFG, Built, Layout
from tests.unit.train import tiny

LAYOUTS = (
    Layout(),
    Layout(ranks=2),
    Layout(ranks=2, distributed=True),
    Layout(ranks=2, tp=2),
    Layout(ranks=2, pp=2),
    Layout(ranks=2, pp=2, vpp=2),
    Layout(ranks=4, tp=2, distributed=True),
    Layout(ranks=4, tp=2, pp=2),
    Layout(ranks=4, pp=2, distributed=True, bf16=True),
    Layout(ranks=2, tp=2, bf16=True),
)


def _random(shapes: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Numbers that no rounding spares, zeros of both signs among them."""
    generator = torch.Generator().manual_seed(seed)
    found = {
        name: torch.randn(tensor.shape, generator=generator) for name, tensor in sorted(shapes.items()) if tensor.ndim
    }
    for tensor in found.values():
        tensor.view(-1)[:2] = torch.tensor([0.0, -0.0])
    return found


def _same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name].view(torch.int32), tensor.view(torch.int32)), name


def _there_and_back(layout: Layout, cfg: AdamW | Muon) -> None:
    with building.parallel(layout) as group:
        built = building.make(building.stage(optimizer=cfg), layout, group)
        weights, moments = _random(built.shapes(), 1), _random(built.state(), 2)
        owned = built.owned()
        handover.load_weights(owned, built.shapes(), building.from_memory(weights))
        handover.load_state(owned, built.shapes(), building.from_memory(moments), "llm", 7)
        for one in owned:  # what the model computes with, whole on each rank
            parts = [weights[target] for target in one.placed.targets]
            if layout.tp == 1:
                whole = one.placed.rule.form.join(parts)
                assert torch.equal(one.tensor.detach(), whole.to(one.tensor.dtype)), one.placed.key
        assert {one.step for one in owned if one.counts} == {7}
        dist.send = dist.recv = None  # under NCCL they make a communicator for each two ranks
        gathering = Gathering(owned, built.rules, group)
        back = dict(gathering.weights(built.shapes()))
        state = dict(gathering.state(built.state()))
        if not group.first:
            assert not back
            assert not state
            return
        _same(back, weights)
        assert state.pop("llm.step").tolist() == 7
        _same(state, moments)
        assert list(back) == tensor_file.order(built.shapes())


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_is_given_to_the_ranks_comes_back_with_every_bit(layout: Layout) -> None:
    ranks.run(layout.ranks, _there_and_back, layout, tiny.ADAMW)


@pytest.mark.parametrize("layout", [Layout(), Layout(ranks=4, tp=2, pp=2), Layout(ranks=4, tp=2, bf16=True)], ids=str)
def test_muons_momenta_too(layout: Layout) -> None:
    ranks.run(layout.ranks, _there_and_back, layout, tiny.MUON)


def _exchanged(split: Callable[[Tensor], list[Tensor]], fused: Tensor) -> list[Tensor]:
    """Gate and up change places."""
    return split(fused)[::-1]


def _one_bit(copied: Callable[..., Tensor | None], *given: object) -> Tensor | None:
    """The last bit of a number that no forward pass of a few rows would show."""
    if (whole := copied(*given)) is not None:
        whole.view(torch.int32).view(-1)[-1] ^= 1
    return whole


def _of_weights(copied: Callable[..., Tensor | None], source: object, kind: str) -> Tensor | None:
    """Weights in the place of moments, where both are there."""
    return copied(source, WEIGHT)


def _put_together_otherwise(layout: Layout, where: type, name: str, fault: Callable[..., object]) -> tuple[str, str]:
    with building.parallel(layout) as group:
        built = building.make(building.stage(), layout, group)
        owned, said = built.owned(), []
        handover.load_weights(owned, built.shapes(), building.from_memory(_random(built.shapes(), 1)))
        handover.load_state(owned, built.shapes(), building.from_memory(_random(built.state(), 2)), "llm", 7)
        gathering, real = Gathering(owned, built.rules, group), getattr(where, name)
        setattr(where, name, lambda self, *given: fault(partial(real, self), *given))
        for tensors, shapes in ((gathering.weights, built.shapes()), (gathering.state, built.state())):
            try:
                list(tensors(shapes))
                said.append("")
            except WrongCopyError as error:
                said.append(str(error))
        return said[0], said[1]


@pytest.mark.parametrize("layout", [Layout(), Layout(ranks=4, tp=2, distributed=True)], ids=str)
@pytest.mark.parametrize(
    ("where", "name", "fault", "wrong"),
    [
        (Below, "split", _exchanged, (".mlp.linear_fc1.weight.weight", ".mlp.linear_fc1.weight.exp_avg")),
        (Gathering, "_fused", _one_bit, (".weight", ".exp_avg")),
        (Gathering, "_fused", _of_weights, ("", ".exp_avg")),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_what_is_put_together_otherwise_is_not_handed_on(
    layout: Layout, where: type, name: str, fault: Callable[..., object], wrong: tuple[str, str]
) -> None:
    for said in ranks.run(layout.ranks, _put_together_otherwise, layout, where, name, fault):
        for found, named in zip(said, wrong, strict=True):
            assert (named in found and "is not what the ranks have" in found) if named else not found


def _one_step(layout: Layout) -> dict[str, Tensor]:
    """Weights and moments after a step of Core's AdamW on given gradients."""
    with building.parallel(layout) as group:
        built = building.make(building.stage(), layout, group)
        weights, gradients = _random(built.shapes(), 1), _random(built.shapes(), 3)
        owned = built.owned()
        handover.load_weights(owned, built.shapes(), building.from_memory(weights))
        for one in owned:
            place = handover._joined(one, built.shapes(), building.from_memory(gradients))
            one.tensor.main_grad.copy_(place)
        built.mover.core.prepare_grads()
        gathering = Gathering(owned, built.rules, group)
        before = dict(gathering.gradients(built.shapes()))
        if group.first:
            _same(before, gradients)
        built.mover.step(1e-3)
        assert {one.step for one in built.owned() if one.inner is not None} == {1}
        found = dict(gathering.weights(built.shapes()))
        return found | dict(gathering.state(built.state()))


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.ranks > 1 and not layout.bf16], ids=str)
def test_a_step_of_adamw_leaves_the_same_in_every_layout(layout: Layout) -> None:
    """Gradients are read where Core has them, and the moments are those that Core has moved."""
    (alone,) = ranks.run(1, _one_step, Layout())
    found = ranks.run(layout.ranks, _one_step, layout)[0]
    assert len(found) == 3 * len(Built(building.stage(), [], None, None, None).shapes()) + 1  # type: ignore[arg-type]
    assert alone.pop("llm.step") == found.pop("llm.step") == 1
    for name, tensor in alone.items():
        assert (found[name] - tensor).double().norm() <= 1e-7 * tensor.norm(), name


def _files(folder: Path) -> None:
    with building.parallel(Layout(tp=2, ranks=2)) as group:
        built = building.make(building.stage(), Layout(tp=2, ranks=2), group)
        weights, state = Stored.of(folder / "model.safetensors"), Stored.of(folder / "optimizer.safetensors")
        shapes, owned = built.shapes(), built.owned()
        handover.load_weights(owned, shapes, parts.from_file(weights, shapes))
        handover.load_state(owned, shapes, state.part, "llm", int(state["llm.step"]))
        gathering = Gathering(owned, built.rules, group)
        sources = {"a": (shapes, gathering.weights), "b": (built.state(), gathering.state)}
        for name, (like, tensors) in sources.items():
            if group.first:
                (folder / name).write_bytes(b"".join(map(bytes, tensor_file.blocks(like, tensors(like)))))
            else:
                assert not list(tensors(like))


def test_files_of_a_parent_are_read_and_files_for_a_child_are_written(tmp_path: Path) -> None:
    built = Built(building.stage(), [], None, None, None)  # type: ignore[arg-type]
    weights, moments = _random(built.shapes(), 1), _random(built.state(), 2)
    save_file({name.removeprefix("llm."): tensor for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    save_file(moments | {"llm.step": torch.tensor(3)}, tmp_path / "optimizer.safetensors")
    ranks.run(2, _files, tmp_path)
    _same(load_file(tmp_path / "a"), weights)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "optimizer.safetensors").read_bytes()


def _bridges_own(folder: Path, layout: Layout) -> dict[str, Tensor]:
    """What Bridge's conversion makes of the model that our handover has filled."""
    from megatron.bridge import AutoBridge

    with building.parallel(layout) as group:
        built = building.make(building.stage(), layout, group)
        handover.load_weights(built.owned(), built.shapes(), building.from_memory(_random(built.shapes(), 1)))
        bridge = AutoBridge.from_hf_pretrained(str(folder))
        return {
            f"llm.{name}": tensor.clone()
            for name, tensor in bridge.export_hf_weights(built.chunks, cpu=True, show_progress=False)
        }


@pytest.mark.parametrize("layout", [Layout(), Layout(tp=2, ranks=2), Layout(pp=2, ranks=2)], ids=str)
def test_bridges_conversion_agrees(layout: Layout, tmp_path: Path) -> None:
    """A second reader that others wrote: no bit differs."""
    stage = building.stage()
    hf.save(build.build(stage)["llm"], CFG, tiny.ROPE, tiny.CONTEXT, tmp_path)
    found = ranks.run(layout.ranks, _bridges_own, tmp_path, layout)[0]
    _same(
        found, _random({name: torch.empty(tensor.shape) for name, tensor in build.build(stage).state_dict().items()}, 1)
    )


def _refused(cfg_of_megatron: dict[str, int]) -> str:
    layout = Layout()
    with building.parallel(layout) as group:
        other = building.make(building.stage(CFG.model_copy(update=cfg_of_megatron)), layout, group)
        shapes = Built(building.stage(), [], None, other.rules, group).shapes()
        with pytest.raises(ValueError) as raised:
            handover.load_weights(other.owned(), shapes, building.from_memory(_random(shapes, 1)))
        with pytest.raises(ValueError) as again:
            list(Gathering(other.owned(), other.rules, group).weights(shapes))
        return f"{raised.value} | {again.value}"


def test_a_padded_vocabulary_is_an_error() -> None:
    (said,) = ranks.run(1, _refused, {"vocab": 64})
    loading, writing = said.split(" | ")
    assert loading.endswith("makes llm.model.embed_tokens.weight [64, 16]; the model's is [48, 16]")
    assert writing.endswith("makes llm.lm_head.weight [64, 16]; the model's is [48, 16]")


def test_a_layer_too_many_or_too_few_is_an_error() -> None:
    (said,) = ranks.run(1, _refused, {"layers": 5})
    loading, writing = said.split(" | ")
    assert "decoder.layers.4.input_layernorm.weight would be llm.model.layers.4" in loading
    assert "make llm.model.layers.4.input_layernorm.weight, " in writing
    assert "which the model does not have" in writing
    assert "no parameter of Megatron's makes llm.model.layers.3" in ranks.run(1, _missing)[0]


def _missing() -> str:
    with building.parallel(Layout()) as group:
        other = building.make(building.stage(CFG.model_copy(update={"layers": 3})), Layout(), group)
        shapes = Built(building.stage(), [], None, other.rules, group).shapes()
        with pytest.raises(ValueError) as raised:
            list(Gathering(other.owned(), other.rules, group).weights(shapes))
        return str(raised.value)


def _tied(layout: Layout) -> None:
    cfg = CFG.model_copy(update={"tied": True})
    with building.parallel(layout) as group:
        built = building.make(building.stage(cfg), layout, group)
        weights = _random(built.shapes(), 1)
        assert "llm.lm_head.weight" not in weights
        handover.load_weights(built.owned(), built.shapes(), building.from_memory(weights))
        back = dict(Gathering(built.owned(), built.rules, group).weights(built.shapes()))
        if group.first:
            _same(back, weights)


@pytest.mark.parametrize("layout", [Layout(), Layout(tp=2, pp=2, ranks=4)], ids=str)
def test_tied_embeddings_are_one_tensor(layout: Layout) -> None:
    ranks.run(layout.ranks, _tied, layout)
