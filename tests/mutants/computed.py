"""Defects in what is computed: gradients over micro-batches, a resume, a conversion, the contrastive loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from stages.contract import ledger
from stages.errors import UserError
from stages.models import build, coca, hf, hf_names, hf_rope
from stages.models.ops.labels import IGNORED
from stages.spec.resolved import Stage
from stages.store.digest import Written, digest_bytes
from stages.train import checkpoint, finite, loop, replicated
from stages.train.checkpoint import Counters
from stages.train.loop import Run
from stages.train.objectives.causal import Causal
from stages.train.optimizer import STEP, Optimizer
from stages.train.param_groups import trained_slots
from stages.train.stopping import StoppedError, StopRequest
from tests.parity import test_hf as conversion
from tests.unit.models import test_coca as contrast
from tests.unit.models import vision
from tests.unit.train import tiny


def made(stage: Stage) -> nn.ModuleDict:
    modules = nn.ModuleDict()
    for name, cfg in stage.modules.items():
        modules[name] = build.make(cfg, stage.rope, "cpu")
        build.initialise(modules[name], name, cfg, stage.seed)
    return modules


def objective(stage: Stage, modules: nn.ModuleDict, folder: Path) -> Causal:
    phase = stage.phases[0]
    data = tiny.Data(phase, stage.seed, "", folder)
    return Causal(stage, phase, modules, data.samples, torch.device("cpu"))


def moved_by(stage: Stage, modules: nn.ModuleDict) -> Optimizer:
    assert stage.optimizer is not None
    return Optimizer(stage.optimizer, trained_slots(modules, stage.trained, stage.optimizer))


def holds_accumulation(folder: Path) -> bool:
    """The step's gradient is that of the mean over all its answer tokens, as one batch without micro-batches has it."""
    phase = tiny.phase("sft", batch=(tiny.BatchStep(after=0, sequences=7),))  # 2 + 2 + 2 + 1
    stage = tiny.make("sft").model_copy(update={"phases": (phase,)})
    modules = made(stage)
    causal, optimizer, step = objective(stage, modules, folder), moved_by(stage, modules), ledger.step_at(phase, 0)
    gathered = replicated.gather(optimizer, causal, step)[0]
    causal.phase = phase.model_copy(update={"micro_batch": step.sequences})
    causal.begin(step)
    rows = causal.rows(0)
    hidden = causal.lm(rows.batch.tokens, rows.batch.positions, rows.batch.documents, None)
    logits = causal.lm.logits(hidden).flatten(0, 1)
    loss = F.cross_entropy(logits, rows.labels.flatten(), ignore_index=IGNORED)
    wanted = torch.autograd.grad(loss, optimizer.parameters)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(gathered, wanted, strict=True))


def mean_of_means(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def part(self: Causal, index: int) -> tuple[Tensor, list[Tensor]]:
        rows = self.rows(index)
        return self.loss(rows) / max(int((rows.labels != IGNORED).sum()), 1) / len(self._cuts), []

    patch.setattr(Causal, "part", part)


def masked_counted(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(Causal, "divisor", property(lambda self: sum(len(one.labels) for one in self._samples)))


def last_dropped(patch: pytest.MonkeyPatch, folder: Path) -> None:
    begin = Causal.begin
    patch.setattr(Causal, "begin", lambda self, step: begin(self, step) - 1)


def second_over_first(patch: pytest.MonkeyPatch, folder: Path) -> None:
    part = Causal.part

    def alone(self: Causal, index: int) -> tuple[Tensor, list[Tensor]]:
        if index % 2:
            self.lm.zero_grad()
        return part(self, index)

    patch.setattr(Causal, "part", alone)


class Rows:
    """Stands where the metrics table stands and keeps its rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append({name: value for name, value in row.items() if "second" not in name})

    def flush(self) -> None: ...


def trained(stage: Stage, folder: Path, start: Path | None, stop_at: int | None) -> tuple[list[Any], list[Tensor]]:
    """Rows and weights of a run that begins at the checkpoint `start`, or afresh, and leaves one in `folder`."""
    modules, table = made(stage), Rows()
    optimizer = moved_by(stage, modules)
    counters = Counters(0, 0, 0, 0, 0, 0)
    if start is not None:
        counters = checkpoint.load(start, modules, optimizer, stage.trained)

    def save(counters: Counters, wait: bool) -> Path:
        folder.mkdir(exist_ok=True)
        for name in (checkpoint.METRICS, checkpoint.TIMING):
            (folder.parent / name).touch()
        if counters.steps == stop_at:
            tables = dict.fromkeys((checkpoint.METRICS, checkpoint.TIMING), Written(0, digest_bytes(b"")))
            held = checkpoint.Held(modules.state_dict(), optimizer.state(), None, counters, tables)
            checkpoint.save(folder, held, folder.parent)
            raise StoppedError("stopped")
        return folder

    metrics: Any = table
    unread: Any = Rows()
    broken = partial(finite.broken_tensors, modules.state_dict())
    run = Run(stage, metrics, unread, unread, StopRequest(), save, lambda: None, broken)
    try:
        stepper = replicated.Replicated(optimizer, objective(stage, modules, folder))
        loop.run_phase(run, stage.phases[0], stepper, counters)
    except StoppedError:
        assert stop_at is not None
    return table.rows, [tensor.clone() for tensor in modules.state_dict().values()]


def holds_resume(folder: Path) -> bool:
    """Rows and weights of a run stopped after step 3 and resumed are those of an undisturbed one, bit for bit."""
    stage = tiny.make("next_token")
    rows, weights = trained(stage, folder / "whole", None, None)
    first, _ = trained(stage, folder / "partial", None, 3)
    try:
        rest, resumed = trained(stage, folder / "again", folder / "partial", None)
    except UserError:  # the checkpoint is refused as it is read
        return False
    return first + rest == rows and all(torch.equal(a, b) for a, b in zip(weights, resumed, strict=True))


def restored(patch: pytest.MonkeyPatch, keep: Callable[[str], bool]) -> None:
    load = Optimizer.load

    def partly(self: Optimizer, state: dict[str, Tensor], module: str, where: str) -> None:
        load(self, {name: one if keep(name) else torch.zeros_like(one) for name, one in state.items()}, module, where)

    patch.setattr(Optimizer, "load", partly)


def moments_dropped(patch: pytest.MonkeyPatch, folder: Path) -> None:
    restored(patch, lambda name: name.endswith(f".{STEP}"))


def step_reset(patch: pytest.MonkeyPatch, folder: Path) -> None:
    restored(patch, lambda name: not name.endswith(f".{STEP}"))


def data_one_behind(patch: pytest.MonkeyPatch, folder: Path) -> None:
    load = checkpoint.load

    def behind(start: Path, modules: nn.ModuleDict, optimizer: Optimizer, names: Sequence[str]) -> Counters:
        counters = load(start, modules, optimizer, names)
        return replace(counters, phase_consumed=counters.phase_consumed - 1)

    patch.setattr(checkpoint, "load", behind)


def holds_conversion(folder: Path) -> bool:
    """transformers computes our logits from an exported model: random weights, single precision, to 1e-5."""
    cfg, rope, _ = conversion.CASES["longrope"]
    module = conversion.built(cfg, rope)
    hf.save(module, cfg, rope, 256, folder / "model")
    theirs = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    tokens = torch.randint(0, 61, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = module.logits(module(tokens, torch.arange(40).expand(1, -1), None, None))
        return bool((ours - theirs(tokens).logits).abs().max() <= 1e-5)


def exported(patch: pytest.MonkeyPatch, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    patch.setattr(hf, "to_hf", lambda state: change(hf_names.to_hf(state)))


def pairs_interleaved(patch: pytest.MonkeyPatch, folder: Path) -> None:
    order = torch.arange(32).view(4, 2, 4).transpose(1, 2).flatten()  # heads, halves, pairs
    exported(patch, lambda state: {n: t[order] if n.endswith("q_proj.weight") else t for n, t in state.items()})


def transposed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    exported(patch, lambda state: {n: t.T if n.endswith("q_proj.weight") else t for n, t in state.items()})


def factors_dropped(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(hf_rope, "rope_scaling", lambda rope, dim, max_context: None)


def holds_contrast(folder: Path) -> bool:
    """The batch's loss, in blocks of two images, is the same with towers swapped and with pairs in another order."""
    contrastive = vision.made(vision.CONTRASTIVE)
    image, text = contrast.embeddings(7, 1)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coca, "ROWS", 2)
        loss = coca.whole_batch_gradient(image, text, contrastive).loss
        others = [
            coca.whole_batch_gradient(text, image, contrastive).loss,
            coca.whole_batch_gradient(image[order], text[order], contrastive).loss,
        ]
    return all(torch.allclose(loss, other, rtol=1e-5, atol=0.0) for other in others)


def one_sided(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, first: int = 0) -> Tensor:
        wanted = torch.arange(first, first + len(image))
        return F.cross_entropy(scale.exp() * image @ text.T + bias, wanted, reduction="sum") / len(text)

    patch.setattr(coca, "siglip_loss", loss)


def labels_by_block(patch: pytest.MonkeyPatch, folder: Path) -> None:
    real = coca.siglip_loss
    patch.setattr(coca, "siglip_loss", lambda image, text, scale, bias, first=0: real(image, text, scale, bias))


def negatives_of_the_block(patch: pytest.MonkeyPatch, folder: Path) -> None:
    real = coca.siglip_loss

    def loss(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, first: int = 0) -> Tensor:
        return real(image, text[first : first + len(image)], scale, bias)

    patch.setattr(coca, "siglip_loss", loss)


PROPERTIES = {"I-10": holds_accumulation, "I-16": holds_resume, "I-22": holds_conversion, "I-33": holds_contrast}
MUTANTS = (
    ("I-10", "the mean of the micro-batches' means", "stages/train/objectives/causal.py", mean_of_means),
    ("I-10", "masked tokens in the count", "stages/train/objectives/causal.py", masked_counted),
    ("I-10", "the last, smaller micro-batch left out", "stages/train/objectives/causal.py", last_dropped),
    ("I-10", "the second gradient of two kept, not added", "stages/train/replicated.py", second_over_first),
    ("I-16", "moments dropped on load", "stages/train/optimizer.py", moments_dropped),
    ("I-16", "the optimizer's step counted from zero again", "stages/train/optimizer.py", step_reset),
    ("I-16", "the data's position one behind", "stages/train/checkpoint.py", data_one_behind),
    ("I-22", "q_proj in the other order of rotary pairs", "stages/models/hf_names.py", pairs_interleaved),
    ("I-22", "q_proj transposed", "stages/models/hf_names.py", transposed),
    ("I-22", "longrope's factors left out of config.json", "stages/models/hf_rope.py", factors_dropped),
    ("I-33", "texts compared for each image and not images for each text", "stages/models/coca.py", one_sided),
    ("I-33", "labels counted within the block", "stages/models/coca.py", labels_by_block),
    ("I-33", "negatives from the same block only", "stages/models/coca.py", negatives_of_the_block),
)
