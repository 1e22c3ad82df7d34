"""Memory of the torch engine by plan: its parts by hand, and the sizes that it shares with the code it is about."""

from __future__ import annotations

import weakref
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.contract import hardware, ledger, memory, memory_engine, memory_layers
from stages.contract.parameters import parameters
from stages.evals import whole
from stages.models.ops import head, head_chunk
from stages.spec.resolved import Stage
from stages.spec.resolved_phases import BatchStep
from stages.train import replicated
from tests.unit.train import tiny

LAPTOP = hardware.Hardware(
    name="laptop", title="", device="cpu", peak=1, mfu=1.0, memory=10**12, runtime=0, per_node=None, disk=1,
    block_ms=0.0, step_ms=0.0, side=Fraction(1), positions=Fraction(1), sources=(),
)  # fmt: skip


def under(stage: Stage, **execution: Any) -> Stage:
    return stage.model_copy(update={"execution": stage.execution.model_copy(update=execution)})


def batches(stage: Stage, count: int) -> Stage:
    """The stage with a step of so many micro-batches of one sequence."""
    phase = stage.phases[0].model_copy(update={"micro_batch": 1, "batch": (BatchStep(after=0, sequences=count),)})
    return stage.model_copy(update={"phases": (phase,)})


def per_layer(stage: Stage) -> int:
    """Parameters of one layer, with its part of what is in none."""
    count = parameters(stage.modules["llm"])
    return (count.total - count.embedding - count.head) // tiny.LLAMA.layers


def test_sizes_are_those_of_the_code_that_they_are_about() -> None:
    assert (memory_layers.WHOLE, memory_layers.ON_CPU, memory_layers.ON_GPU) == (head.WHOLE, head.ON_CPU, head.ON_GPU)
    assert (memory_layers.FEWEST, memory_engine.EVALUATED) == (head.FEWEST, whole.TOKENS_AT_ONCE)
    assert (memory_layers.TOGETHER, memory_layers.AT_ONCE) == (head.TOGETHER, head_chunk.AT_ONCE)
    assert head_chunk.TILE == head.FEWEST


class Counting:
    """An objective of one weight that counts the whole gradients that are alive when a micro-batch begins."""

    stage = tiny.make("next_token")
    extras = ()

    def __init__(self, count: int, weight: nn.Parameter) -> None:
        self.count, self.weight, self.alive = count, weight, list[int]()
        self.made: list[weakref.ref[Tensor]] = []
        weight.register_post_accumulate_grad_hook(lambda weight: self.made.append(weakref.ref(weight.grad)))

    def begin(self, _: object) -> int:
        return self.count

    def part(self, _: int) -> tuple[Tensor, list[Tensor]]:
        self.alive.append(len({id(one) for made in self.made if (one := made()) is not None}))
        return self.weight.sum(), []

    def whole_batch(self) -> None: ...

    def whole_values(self) -> dict[str, Tensor]:
        return {}


@pytest.mark.parametrize("count", range(1, 34))
def test_partial_sums_are_those_that_a_step_has(count: int) -> None:
    """While the first micro-batch of two is computed, and the second."""
    stage, weight = batches(tiny.make("next_token"), count), nn.Parameter(torch.zeros(1))
    counting = Counting(count, weight)
    replicated.gather(SimpleNamespace(parameters=[weight]), counting, ledger.step_at(stage.phases[0], 0))  # type: ignore[arg-type]
    assert len(counting.alive) == count
    wanted = [max(alive) for alive in (counting.alive[::2], counting.alive[1::2]) if alive]
    assert memory_engine.partial_sums(stage, stage.phases[0]) == wanted


def test_ranks_divide_moments_and_micro_batches_alone() -> None:
    stage = batches(tiny.make("next_token"), 8)
    total = parameters(stage.modules["llm"]).total
    one, four = (memory_engine.of(under(stage, ranks=ranks), stage.phases[0], LAPTOP, "one") for ranks in (1, 4))
    assert one.states == 4 * total + 8 * total
    assert four.states == 4 * total + 8 * total // 4
    added = 4 * (tiny.LLAMA.vocab * tiny.LLAMA.hidden + per_layer(stage))
    assert (one.gradients, four.gradients) == (4 * total * 3 + added, 4 * total + added), "3 sums, 1 sum"


def test_a_looped_model_adds_a_gradient_when_its_first_loop_is_through() -> None:
    """Until then it has the sum over the loops of every tensor; another model has one layer's."""
    stage = batches(tiny.make("looped"), 2)
    found = memory_engine.of(stage, stage.phases[0], LAPTOP, "one")
    assert found.gradients == 2 * 4 * parameters(stage.modules["llm"]).total


# Two steps of models of 7 to 119 million parameters, 1,024 positions a row, on an AMD EPYC with glibc (2026-11-29): MB
# that are alive by plan, and by how much the process grew.
GROWN = {
    "Llama": (479, 644), "Llama, bf16": (417, 469), "Llama, 2 rows a step": (414, 436), "Llama, 8 rows": (1100, 1180),
    "Ouro": (930, 1414), "Ouro, recomputed": (461, 632), "Ouro, bf16": (730, 912), "Moonlight": (620, 898),
    "Moonlight, bf16": (542, 857), "Llama, preferences": (524, 675), "Llama of 38M": (1378, 1612),
    "Ouro of 38M, recomputed": (1172, 1541), "Moonlight of 47M": (1477, 2268), "Llama of 119M": (3028, 3107),
    "CoCa": (356, 586),
}  # fmt: skip


@pytest.mark.parametrize("model", GROWN)
def test_a_cpus_plan_has_the_gaps_of_the_heap_too(model: str) -> None:
    alive, grown = (10**6 * number for number in GROWN[model])
    assert grown <= alive + memory_engine.spare(tiny.make("next_token"), alive) < 1.5 * grown + 10**8


def test_gaps_are_no_share_of_what_goes_back_to_the_system() -> None:
    assert memory_engine.spare(tiny.make("next_token"), 10**11) == memory_engine.MOST


def test_recomputed_activations_grow_by_inputs_and_outputs_of_attention() -> None:
    stage = tiny.make("next_token")
    tall = stage.model_copy(update={"modules": {"llm": tiny.LLAMA.model_copy(update={"layers": 102})}})
    added = [
        memory_engine.of(under(tall, activations=how), stage.phases[0], LAPTOP, "one").activations
        - memory_engine.of(under(stage, activations=how), stage.phases[0], LAPTOP, "one").activations
        for how in ("kept", "recomputed")
    ]
    positions = stage.phases[0].micro_batch * stage.phases[0].context
    outputs = memory_layers.attended(tiny.LLAMA, stage.phases[0].document_mask, bf16=False)
    assert added[1] == 100 * positions * (4 * tiny.LLAMA.hidden + outputs)
    assert added[0] > 2.5 * added[1]


def test_a_loss_over_a_long_context_is_one_chunk_and_the_gradients() -> None:
    """262,144 positions of 128,256 words in bf16 on a GPU: whole logits would take 134 GB."""
    model = tiny.LLAMA.model_copy(update={"vocab": 128_256, "hidden": 4096})
    found = memory_layers.head(model, 262_144, True, "cuda")
    chunk = head.chunk(128_256, torch.device("cuda"))
    gradients = 4 * 262_144 * 4096 + 2 * 128_256 * 4096
    logits = chunk.words * (head_chunk.AT_ONCE // chunk.words * 8 + head.TOGETHER * chunk.rows * 2)
    assert found == pytest.approx(logits + gradients, rel=0.01)
    assert found < 8e9


def test_a_divided_layout_is_what_is_left_where_gpus_do_not_fit_a_whole_model(project: Any) -> None:
    stage = under(project.resolve("llama31_1m", "small").stages["cpt_1m"], ranks=4)
    h100 = hardware.load(project.files, "h100")
    assert memory.of(stage, stage.phases[0], h100).layout == "zero1"
    tight = h100.__class__(**{**vars(h100), "memory": 5 * 10**9})
    assert memory.of(stage, stage.phases[0], tight).layout == memory.DIVIDED
