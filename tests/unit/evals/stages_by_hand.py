"""Stages and miniature models written down by hand, for the tests of this folder."""

from typing import Any

import torch

from stages.models.build import build
from stages.spec.families.llama import LlamaModel
from stages.spec.families.ouro import OuroModel
from stages.spec.resolved import Evaluation, Execution, Stage
from stages.spec.resolved_models import (
    CaptionDecoderModel,
    ContrastiveModel,
    MoonViTModel,
    ProjectorModel,
    Rope,
    TextTowerModel,
)
from stages.spec.resolved_phases import Coca, Loops, Phase, Preference, Resolution, Source

VOCAB, LONGEST = 1024, 24
DECODER_ONLY: dict[str, Any] = {
    "layers": 2, "hidden": 32, "ffn": 64, "heads": 4, "kv_heads": 2, "head_dim": 8, "vocab": VOCAB, "norm_eps": 1e-5,
    "tied": True, "init_std": 0.02,
}  # fmt: skip
LLAMA = LlamaModel(family="llama", **DECODER_ONLY)
OURO = OuroModel(family="ouro", **DECODER_ONLY, post_norm_gain=1.0)
VIT = MoonViTModel(
    family="moonvit", layers=2, hidden=32, ffn=64, heads=4, patch=4, channels=3, table=4, rope_base=10_000.0,
    norm_eps=1e-5, init_std=0.05,
)  # fmt: skip
PROJECTOR = ProjectorModel(
    family="projector", vision_hidden=32, merge=2, llm_hidden=32, norm_eps=1e-5, init_std=0.05
)  # fmt: skip
TEXT = TextTowerModel(
    family="text_tower", layers=1, hidden=32, ffn=64, heads=4, vocab=VOCAB, length=LONGEST, norm_eps=1e-6, init_std=0.05
)  # fmt: skip
DECODER = CaptionDecoderModel(
    family="caption_decoder", layers=1, hidden=32, ffn=64, heads=4, vocab=VOCAB, length=LONGEST, vision_hidden=32,
    norm_eps=1e-5, init_std=0.05,
)  # fmt: skip
CONTRASTIVE = ContrastiveModel(
    family="contrastive", hidden=32, ffn=64, heads=4, norm_eps=1e-6, init_std=0.05, init_log_temperature=2.3,
    init_bias=-10.0,
)  # fmt: skip
JOINT = {"llm": LLAMA, "vit": VIT, "projector": PROJECTOR}
COCA = {"vit": VIT, "text_tower": TEXT, "decoder": DECODER, "contrastive": CONTRASTIVE}


def phase(*corpora: str, objective: Any = "next_token", context: int = 64, loops: int | None = None) -> Phase:
    coca = Coca(caption_weight=2.0, resolutions=(Resolution(after=0, cap=32),)) if objective == "coca" else None
    sources = tuple(
        Source(corpus=name, group="text", weight=1, start=0, end=1, digest="") for name in corpora
    )  # fmt: skip
    return Phase(
        name="main", objective=objective, unit="tokens", budget=1, clock_start=0, context=context, batch=(),
        micro_batch=1, epochs=1, document_mask=True, packing="concatenate", sources=sources, share=None,
        loops=None if loops is None else Loops(count=loops, beta=0.1), router=None, coca=coca,
    )  # fmt: skip


def stage(
    modules: dict[str, Any], names: tuple[str, ...], *phases: Phase, context: int = 64, old: int | None = None,
    samples: int = 3,
) -> Stage:  # fmt: skip
    return Stage(
        pipeline="p", name="s", box="", scale="mini", kind="train", engine_class="torch-fp32", seed=0, parents=(),
        modules=modules, init={}, trained=(), clock="reset", data="restart", tokenizer="",
        rope=Rope(base=10_000.0, llama3=None, interpolation=1.0), optimizer=None, schedule=None, phases=phases,
        evaluation=Evaluation(names=names, context=context, old_context=old, samples=samples),
        execution=Execution(
            engine="torch", device="cpu", threads=1, ranks=1, nodes=1, memory_mb=1, time_limit_min=1,
            checkpoint_every=1, keep_partials=1, activations="kept", determinism="exact", parallel=None,
        ),
        max_context=context,
    )  # fmt: skip


def preferring(answers: str, ends: str = "learned", context: int = 64) -> Stage:
    """A stage that is evaluated on pairs of answers."""
    settings = Preference.model_validate(
        {"loss": "dpo", "beta": 0.1, "answers": answers, "turn_ends": ends, "nll": 0.0}
    )
    read = phase("preferences", objective="preference").model_copy(update={"preference": settings})
    return stage({"llm": LLAMA}, ("preferences",), read, context=context, samples=5)


def made(of: Stage) -> Any:
    """The stage's modules with the weights of its seed."""
    return build(of)


def lively(of: Stage) -> Any:
    """Modules whose logits depend on every token and pixel, as those of the start's small weights do not."""
    modules = build(of)
    for number, parameter in enumerate(modules.parameters()):
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(number))
    return modules
