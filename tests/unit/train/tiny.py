"""Stages small enough to train in a second, and data that is a pure function of the sample's number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.data.document import IMAGE
from stages.data.loading.sample import Image, PairRow, Sample
from stages.engines import Inputs
from stages.spec.families.llama import LlamaModel
from stages.spec.families.moonlight import MoonlightModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Evaluation, Execution, Init, Stage
from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    Model,
    MoonViTModel,
    ProjectorModel,
    Rope,
    TextTowerModel,
)
from stages.spec.resolved_phases import BatchStep, Coca, Loops, Phase, Preference, Resolution, Router, Source
from stages.spec.resolved_training import AdamW, Muon, Piece, Schedule
from stages.store.layout import Layout
from stages.train.optimizer import Clipped

VOCAB, CONTEXT, PATCH, MERGE = 50, 32, 4, 2
ROPE = Rope(base=10_000.0, llama3=None, interpolation=1.0)
ADAMW = AdamW(kind="adamw", beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, decay="all", clip=1.0)
MUON = Muon(
    kind="muon",
    momentum=0.95,
    nesterov=True,
    newton_schulz=(3.4445, -4.7750, 2.0315),
    newton_schulz_steps=5,
    update_rms=0.2,
    beta1=0.9,
    beta2=0.95,
    eps=1e-8,
    weight_decay=0.1,
    decay="all",
    clip=1.0,
)
STACK = {"layers": 2, "hidden": 16, "ffn": 24, "heads": 2, "kv_heads": 2, "head_dim": 8, "vocab": VOCAB}
LLAMA = LlamaModel(family="llama", **STACK, norm_eps=1e-5, tied=False, init_std=0.05)
OURO = OuroModel(family="ouro", **STACK, norm_eps=1e-6, tied=False, init_std=0.05, post_norm_gain=1.0)
MOONLIGHT = MoonlightModel(
    family="moonlight",
    layers=2,
    dense_layers=1,
    hidden=16,
    ffn=24,
    heads=2,
    vocab=VOCAB,
    kv_lora_rank=8,
    qk_nope_dim=4,
    qk_rope_dim=4,
    v_head_dim=8,
    experts=4,
    active_experts=2,
    shared_experts=1,
    expert_ffn=8,
    routed_scale=2.0,
    norm_eps=1e-5,
    tied=False,
    init_std=0.05,
)
VIT = MoonViTModel(
    family="moonvit",
    layers=1,
    hidden=16,
    ffn=24,
    heads=2,
    patch=PATCH,
    channels=1,
    table=4,
    rope_base=10_000.0,
    norm_eps=1e-5,
    init_std=0.05,
)
PROJECTOR = ProjectorModel(
    family="projector", vision_hidden=16, merge=MERGE, llm_hidden=16, norm_eps=1e-5, init_std=0.05
)
TEXT = TextTowerModel(
    family="text_tower", layers=1, hidden=16, ffn=24, heads=2, vocab=VOCAB, length=6, norm_eps=1e-6, init_std=0.05
)
DECODER = CaptionDecoderModel(
    family="caption_decoder",
    layers=1,
    hidden=16,
    ffn=24,
    heads=2,
    vocab=VOCAB,
    length=6,
    vision_hidden=16,
    norm_eps=1e-6,
    init_std=0.05,
)
CONTRASTIVE = ContrastiveModel(
    family="contrastive",
    hidden=16,
    ffn=24,
    heads=2,
    norm_eps=1e-6,
    init_std=0.05,
    init_log_temperature=2.3,
    init_bias=-10.0,
)
PREFERENCE = Preference(loss="dpo", beta=0.5, answers="sum", turn_ends="learned", nll=0.2)
EXECUTION = Execution(
    engine="torch",
    device="cpu",
    threads=1,
    ranks=1,
    nodes=1,
    memory_mb=500,
    time_limit_min=5,
    checkpoint_every=3,
    keep_partials=2,
    activations="kept",
    determinism="exact",
    parallel=None,
)


def unclipped(gradients: list[torch.Tensor]) -> Clipped:
    """Gradients as the optimizer takes them, to be used as they are."""
    return Clipped(gradients, torch.zeros(()), None)


def phase(objective: str, **changes: Any) -> Phase:
    """Ten steps of four sequences and a last one of one and a half; doubled batch from the fifth step on."""
    fields: dict[str, Any] = {
        "name": "main",
        "objective": objective,
        "unit": "tokens",
        "budget": 40 * CONTEXT + CONTEXT + CONTEXT // 2,
        "clock_start": 0,
        "context": CONTEXT,
        "batch": (BatchStep(after=0, sequences=4), BatchStep(after=16 * CONTEXT, sequences=8)),
        "micro_batch": 2,
        "epochs": 1,
        "document_mask": True,
        "packing": "concatenate",
        "sources": (Source(corpus=objective, group="text", weight=1, start=0, end=10_000, digest="0" * 64),),
        "share": None,
        "loops": None,
        "router": None,
        "coca": None,
    }
    return Phase(**(fields | changes))


def schedule(end: int) -> Schedule:
    """Warm-up over a quarter, then constant."""
    quarter = end // 4
    return Schedule(
        name="tiny",
        pieces=(
            Piece(start=0, end=quarter, shape="linear", first=0.0, last=0.01, p0=(0, 1), p1=(1, 1)),
            Piece(start=quarter, end=end, shape="constant", first=0.01, last=0.01, p0=(0, 1), p1=(1, 1)),
        ),
    )


def stage(modules: dict[str, Model], phases: tuple[Phase, ...], trained: tuple[str, ...], **changes: Any) -> Stage:
    """A training stage from fresh weights."""
    fresh = Init(weights="fresh", parent=None, release=None, optimizer="reset", layer_map=None, stand_in=False)
    fields: dict[str, Any] = {
        "pipeline": "tiny",
        "name": "box",
        "box": "Box",
        "scale": "mini",
        "kind": "train",
        "engine_class": "torch-fp32",
        "seed": 7,
        "parents": (),
        "modules": modules,
        "init": dict.fromkeys(modules, fresh),
        "trained": trained,
        "clock": "reset",
        "data": "restart",
        "tokenizer": "0" * 64,
        "rope": ROPE,
        "optimizer": ADAMW,
        "schedule": schedule(sum(part.budget for part in phases)),
        "phases": phases,
        "evaluation": Evaluation(names=(), context=CONTEXT, old_context=None, samples=2),
        "execution": EXECUTION,
        "max_context": CONTEXT,
    }
    return Stage(**(fields | changes))


def make(objective: str) -> Stage:
    """The tiny stage of each objective. Two are next-token prediction: "moe" by a model with experts, under Muon, and
    "wide heads" by one whose heads are as wide as FlashAttention 4's kernels take, two of one key head.
    """
    vision: dict[str, Model] = {"llm": MOONLIGHT, "vit": VIT, "projector": PROJECTOR}
    router = Router(bias_update=1e-3, aux_loss=1e-4)
    if objective == "moe":
        return stage({"llm": MOONLIGHT}, (phase("next_token", router=router),), ("llm",), optimizer=MUON)
    if objective == "wide heads":
        wide = LLAMA.model_copy(update={"head_dim": 64, "kv_heads": 1})
        return stage({"llm": wide}, (phase("next_token"),), ("llm",))
    if objective == "looped":
        return stage({"llm": OURO}, (phase("looped", loops=Loops(count=3, beta=0.1)),), ("llm",))
    if objective == "align":
        return stage(vision, (phase("align"),), ("vit", "projector"), optimizer=MUON)
    if objective == "joint":
        return stage(vision, (phase("joint", router=router),), ("llm", "vit", "projector"), optimizer=MUON)
    if objective == "coca":
        coca = Coca(caption_weight=2.0, resolutions=(Resolution(after=0, cap=2 * PATCH * MERGE),))
        modules: dict[str, Model] = {"vit": VIT, "text_tower": TEXT, "decoder": DECODER, "contrastive": CONTRASTIVE}
        return stage(modules, (phase("coca", coca=coca, unit="patches"),), tuple(modules), rope=None, optimizer=MUON)
    if objective == "preference":
        return stage({"llm": LLAMA}, (phase("preference", packing="whole", preference=PREFERENCE),), ("llm",))
    return stage({"llm": LLAMA}, (phase(objective),), ("llm",))


OBJECTIVES = ("next_token", "looped", "coca", "align", "joint", "sft", "preference")


class Data:
    """Stands where PhaseData stands. Token i+1 follows from token i, so there is something to learn."""

    def __init__(self, phase: Phase, seed: int, scope: str, data_root: Path | None) -> None:
        self.phase = phase
        self.left_out: dict[str, int] = {}

    def refuse_changed(self) -> None:
        """Nothing of it is on a disk."""

    def samples(self, first: int, count: int, tail: int) -> list[Sample]:
        """Rows of two documents, for preference two answers to one prompt; images in front where the objective has
        them; half unsupervised for sft.
        """
        rows = [self._sample(first + i, self.phase.context) for i in range(count)]
        if tail:
            rows[-1] = self._sample(first + count - 1, tail)
        return rows

    def pairs(self, first: int, count: int, tail: int) -> list[PairRow]:
        """Rows of two images (one in a cut row)."""
        return [self._pair(first + i, 1 if tail and i + 1 == count else 2) for i in range(count)]

    def _sample(self, number: int, length: int) -> Sample:
        random = np.random.default_rng(number)
        stream = np.zeros(length + 1, dtype=np.int64)
        stream[0] = random.integers(8, VOCAB)
        for i in range(length):
            stream[i + 1] = 8 + (stream[i] * 3 + int(random.integers(0, 2))) % (VOCAB - 8)
        images: tuple[Image, ...] = ()
        if self.phase.objective == "align" or (self.phase.objective == "joint" and number % 2):
            images = (self._image(number),)
            stream[1:5] = IMAGE
        tokens, labels = stream[:-1].copy(), stream[1:].copy()
        labels[labels == IMAGE] = -100
        if self.phase.objective == "sft":
            labels[: int(random.integers(0, length))] = -100
        half = length // 2
        if self.phase.objective == "preference":
            asked = half // 3
            tokens[half : half + asked] = tokens[:asked]
            tokens[half + asked :], labels[half + asked - 1 :] = 8, 8  # an answer that nobody wants
            for start, end in ((0, asked), (half - 1, half + asked)):  # what a prompt's tokens and a border predict
                labels[start : end - 1] = -100
            labels[-1] = -100
        segments = (np.arange(length) >= half).astype(np.int32)
        positions = np.where(segments == 1, np.arange(length) - half, np.arange(length))
        return Sample(tokens, labels, segments, positions, images, ())

    def _pair(self, number: int, count: int) -> PairRow:
        images = tuple(self._image(2 * number + i) for i in range(count))
        captions = np.array([[8 + (2 * number + i + j) % 10 for j in range(6)] for i in range(count)], dtype=np.int64)
        lengths = np.array([4 + i for i in range(count)], dtype=np.int64)
        return PairRow(images, captions, lengths, ())

    @staticmethod
    def _image(number: int) -> Image:
        side = 2 * PATCH * MERGE
        pixels = np.random.default_rng(number % 10).uniform(-1, 1, (side, side, 1))
        return Image(pixels.astype(np.float32))


def inputs(root: Path, key: str = "a" * 32, phases: int = 1) -> Inputs:
    """Inputs of a stage without parents."""
    keys = tuple(f"{number:032x}" for number in range(1, phases + 1))
    return Inputs(Layout(root, "mini"), key, keys, {}, root / "data", {})
