"""One step of a miniature Moonlight: the torch engine's numbers, and Megatron-Core's on one rank of a layout."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.contract.ledger import Step
from stages.data.loading.sample import Sample, blank
from stages.data.tokens.roles import LOCAL
from stages.engines.nemo.config import config as configuration
from stages.engines.nemo.names import rules
from stages.engines.nemo.names_moonlight import BIAS
from stages.models.build import make
from stages.models.decoder import DecoderLM
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.spec.resolved_parallel import Recompute
from stages.train.objectives.base import cut
from stages.train.objectives.routed import Routed
from stages.train.optimizer import Optimizer
from stages.train.param_groups import trained_slots
from stages.train.ranks import Ranks
from stages.train.replicated import gather
from tests.nemo import building, made_up

ROOT = Path(__file__).parents[2]
SAMPLES, LENGTH = 11, 48  # of micro-batches of 4: the last one is short, and so is the last row
SHORT = 13
STD = 0.15  # weights at which routers decide and attention attends
STEP = Step(index=0, start=0, end=SAMPLES * LENGTH, first_sample=0, sequences=SAMPLES, tail=SHORT)


@dataclass(frozen=True)
class Layout:
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    recompute: Recompute = "none"

    @property
    def ranks(self) -> int:
        return self.tp * self.pp * self.dp

    def __str__(self) -> str:
        sizes = [f"{name}{getattr(self, name)}" for name in ("tp", "pp", "ep", "dp") if getattr(self, name) > 1]
        return "-".join([*sizes, *([self.recompute] if self.recompute != "none" else [])]) or "alone"


@dataclass(frozen=True)
class Found:
    """What a step computed: its loss with the balance loss, and tensors by name."""

    loss: float
    aux_loss: float
    gradients: dict[str, Tensor]
    biases: dict[str, Tensor]  # of the routers, once they have moved


@lru_cache(maxsize=1)
def stage() -> Stage:
    return Project.load(ROOT).resolve("kimi_vl", "mini_nemo").stages["text_pretrain"]


def config() -> MoonlightModel:
    cfg = stage().modules["llm"]
    assert isinstance(cfg, MoonlightModel)
    return cfg


def model(seed: int = 3) -> DecoderLM:
    made = make(config(), stage().rope, "cpu")
    assert isinstance(made, DecoderLM)
    made_up.randomised(made, STD, seed)
    return made


@lru_cache(maxsize=1)
def samples() -> tuple[Sample, ...]:
    return made_up.rows(SAMPLES, LENGTH, SHORT, config().vocab)


def by_torch(lm: DecoderLM) -> Found:
    """The torch engine's own objective and sums."""
    own = stage()
    modules = nn.ModuleDict({"llm": lm})
    modules.train()
    assert own.optimizer is not None
    optimizer = Optimizer(own.optimizer, trained_slots(modules, own.trained, own.optimizer))
    objective = Routed(own, own.phases[0], modules, lambda *_: list(samples()), torch.device("cpu"))
    gradients, values = gather(optimizer, objective, STEP)
    named = {slot.name: gradient for slot, gradient in zip(optimizer.slots, gradients, strict=True)}
    objective.finish()
    objective.close()
    biases = {name: tensor for name, tensor in modules.state_dict().items() if name.endswith(BIAS)}
    return Found(float(values[0]), float(values[1]), named, biases)


def laid(layout: Layout) -> Stage:
    """The stage in this layout; of three layers the first pipeline stage has one."""
    own = stage()
    assert own.execution.parallel is not None
    changes = {"tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "sequence_parallel": layout.tp > 1}
    parallel = own.execution.parallel.model_copy(update={**changes, "recompute": layout.recompute})
    execution = own.execution.model_copy(update={"ranks": layout.ranks, "parallel": parallel})
    return own.model_copy(update={"execution": execution})


def build(layout: Layout) -> list[Any]:
    """The model by Bridge's provider, wrapped by Core's data parallelism."""
    from megatron.core import parallel_state
    from megatron.core.distributed.finalize_model_grads import finalize_model_grads
    from megatron.core.tensor_parallel.random import model_parallel_cuda_manual_seed

    from stages.engines.nemo import moonlight
    from stages.engines.nemo.container import container

    warnings.simplefilter("ignore")  # Megatron's own, of what it will drop some day; this process ends with the case
    own, cfg = laid(layout), config()
    assert own.rope is not None
    parallel_state.initialize_model_parallel(
        layout.tp, layout.pp, expert_model_parallel_size=layout.ep, expert_tensor_parallel_size=1,
        create_gloo_process_groups=False,
    )  # fmt: skip
    model_parallel_cuda_manual_seed(1)
    whole = container(configuration(own, own.phases[0].model_copy(update={"context": LENGTH})))
    provider = whole.model
    provider.transformer_layer_spec = partial(moonlight.block, cfg, own.rope)
    provider.num_layers_in_first_pipeline_stage = 1 if layout.pp > 1 else None
    provider.finalize()
    built: list[Any] = provider.provide_distributed_model(whole.ddp, use_cpu_initialization=True)
    provider.finalize_model_grads_func = finalize_model_grads
    return built


@dataclass
class Core:
    """A model on this rank, filled with ours."""

    chunks: list[Any]
    mover: Any
    layout: Layout

    @classmethod
    def of(cls, layout: Layout, state: Mapping[str, Tensor]) -> Core:
        from stages.engines.nemo import handover
        from stages.engines.nemo.optimizer import Mover

        chunks = build(layout)
        mover = Mover(laid(layout), chunks)
        handover.load_weights(mover.owned, shapes(), building.from_memory(state))
        return cls(chunks, mover, layout)

    def gathering(self) -> Any:
        from stages.engines.nemo.gathering import Gathering

        return Gathering(self.mover.owned, rules(stage()), Ranks(dist.get_rank(), dist.get_world_size()))

    def step(self) -> tuple[float, float, Tensor]:
        """Loss with the balance loss, the balance loss, and the loads [layers of this stage, E], of the whole step."""
        from megatron.core import parallel_state as groups
        from megatron.core.pipeline_parallel import get_forward_backward_func

        from stages.engines.nemo import router

        phase, layout = stage().phases[0], self.layout
        assert phase.router is not None
        coefficient = phase.router.aux_loss
        assert isinstance(coefficient, float)
        supervised = sum(int((sample.labels != -100).sum()) for sample in samples())
        found = router.routers(self.chunks)
        for one in found:
            one.begin(coefficient, SAMPLES, supervised)
        cuts = cut(SAMPLES, phase.micro_batch)
        each, replica = -(-len(cuts) // layout.dp), groups.get_data_parallel_rank()
        mine = range(replica * each, (replica + 1) * each)
        batches = iter([batch(cuts[i] if i < len(cuts) else range(0), phase.micro_batch) for i in mine])
        losses = get_forward_backward_func()(
            forward_step_func=forward_step, data_iterator=batches, model=self.chunks, num_microbatches=each,
            seq_length=LENGTH, micro_batch_size=phase.micro_batch, forward_only=False,
        )  # fmt: skip
        cross = torch.tensor(sum(float(one["loss"]) for one in losses), dtype=torch.float64)
        dist.all_reduce(cross, group=groups.get_data_parallel_group())
        dist.broadcast(cross, group=groups.get_pipeline_model_parallel_group(), group_src=layout.pp - 1)
        aux = torch.stack([torch.zeros(()), *(one.aux_loss for one in found)]).double().sum()
        dist.all_reduce(aux)
        counts = router.step_counts(found, groups.get_tensor_and_data_parallel_group(with_context_parallel=True))
        return float(cross) / supervised + coefficient * float(aux), float(aux), counts


def by_core(layout: Layout, state: Mapping[str, Tensor]) -> Found | None:
    """One step on a rank of a layout; the first rank has the whole."""
    from stages.engines.nemo import router

    core = Core.of(layout, state)
    loss, aux, counts = core.step()
    gradients = dict(core.gathering().gradients(parameters()))
    phase = stage().phases[0]
    assert phase.router is not None
    router.update_bias(router.routers(core.chunks), counts, phase.router.bias_update)
    biases = {name: tensor for name, tensor in core.gathering().weights(shapes()) if name.endswith(BIAS)}
    return Found(loss, aux, gradients, biases) if dist.get_rank() == 0 else None


def shapes() -> dict[str, Tensor]:
    return dict(nn.ModuleDict({"llm": make(config(), stage().rope, "meta")}).state_dict())


def parameters() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in shapes().items() if not name.endswith(BIAS)}


def batch(rows: range, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, labels and segments [size, LENGTH] of these samples, filled up with blank rows."""
    taken = [samples()[i] for i in rows] + [blank(LENGTH, LOCAL)] * (size - len(rows))

    def stack(values: list[np.ndarray], fill: int) -> Tensor:
        return torch.from_numpy(np.stack([np.pad(row, (0, LENGTH - len(row)), constant_values=fill) for row in values]))

    columns = {"tokens": 0, "labels": -100, "segments": -1}
    tokens, labels, segments = (stack([getattr(row, name) for row in taken], fill) for name, fill in columns.items())
    return tokens, labels, segments


def forward_step(batches: Any, model: Any) -> tuple[Tensor, Any]:
    tokens, labels, segments = next(batches)
    losses = model(tokens, None, segments, labels=labels.clamp(min=0), padding_mask=segments < 0)
    return losses, partial(summed, labels != -100)


def summed(supervised: Tensor, losses: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    loss = (losses.float() * supervised).sum()
    return loss, supervised.sum().int(), {"loss": loss.detach()}


def state_of(lm: DecoderLM) -> dict[str, Tensor]:
    return dict(nn.ModuleDict({"llm": lm}).state_dict())


def types_in_bf16() -> set[torch.dtype]:
    """What Core's wrapper for half precision leaves of the routers' tensors."""
    from stages.engines.nemo import router

    found = router.routers(build(Layout()))
    for one in found:
        one.bfloat16()
    floats = [tensor for one in found for tensor in (*one.parameters(), *one.buffers()) if tensor.is_floating_point()]
    return {tensor.dtype for tensor in floats}


def evaluated() -> tuple[int, float]:
    """Tokens that the routers counted in an evaluation, and their balance loss."""
    from stages.engines.nemo import router

    built = Core.of(Layout(), state_of(model())).chunks
    built[0].eval()
    for grad in (torch.enable_grad(), torch.no_grad()):
        with grad:
            forward_step(iter([batch(range(4), 4)]), built[0])
    found = router.routers(built)
    return sum(int(one.counts.sum()) for one in found), sum(float(one.aux_loss) for one in found)


def saved(layout: Layout, state: Mapping[str, Tensor], folder: Path) -> None:
    """Write the model as Core's checkpoints are written."""
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    filesystem_async._results_queue = queue.Queue()  # threads of this process write; Core would start one more
    dist_checkpointing.save(Core.of(layout, state).chunks[0].module.sharded_state_dict(), str(folder))


def loaded(folder: Path) -> dict[str, Tensor]:
    """Read it on one rank, under our names."""
    from megatron.core import dist_checkpointing

    core = Core.of(Layout(), state_of(model(seed=4)))
    module = core.chunks[0].module
    module.load_state_dict(dist_checkpointing.load(module.sharded_state_dict(), str(folder)))
    return {name: tensor.clone() for name, tensor in core.gathering().weights(shapes())}
