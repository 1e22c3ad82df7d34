"""Defects of positions, architectures and upcycling."""

from __future__ import annotations

from stages.spec.resolved import Waiver
from stages.spec.resolved_models import Rope
from tests.mutants import changes
from tests.mutants.mutant import LLAMA, OURO, Bent, Edited, Mutant

MINI = "scales/mini.yaml"


def waiver(id: str, reason: str) -> Waiver:
    """A waiver of unmasked documents in the stage's one phase."""
    return Waiver(id=id, at=("phases.main.document_mask",), found="false", reason=reason)


MUTANTS = (
    Mutant("I-11", "a language model without rotary positions", Bent(changes.stage("joint_pretrain", rope=None))),
    Mutant(
        "I-11",
        "llama3 scaling whose bands are the wrong way round",
        Edited("llama31_1m/cpt_1m.yaml", "low: 1, high: 4", "low: 4, high: 1"),
    ),
    Mutant(
        "I-12",
        "the parent's base wins over the child's",
        Bent(changes.rope("joint_longctx", base=lambda old: old.base / 16)),
        also=frozenset({"I-29", "I-35"}),
    ),
    Mutant(
        "I-12",
        "an interpolation that does not reach the stage",
        Bent(changes.rope("cpt_256k", interpolation=1.0)),
        LLAMA,
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-12",
        "a changed base on a model that rotates a single pair",
        Edited(MINI, r"qk_rope_dim: \d+", "qk_rope_dim: 2"),
        also=frozenset({"I-29"}),
    ),
    Mutant(
        "I-13",
        "an export that loses the interpolation",
        Bent(changes.rope("instruct", interpolation=1.0)),
        LLAMA,
        also=frozenset({"I-14", "I-35"}),
    ),
    Mutant(
        "I-13",
        "upcycling that falls back to another base",
        Bent(changes.stage("upcycle_2_6b", rope=Rope(base=10_000.0, llama3=None, interpolation=1.0))),
        OURO,
        also=frozenset({"I-37", "I-14", "I-35"}),
    ),
    Mutant(
        "I-14",
        "a release that declares its last stage's context",
        Bent(changes.stage("instruct", max_context=512)),
        LLAMA,
    ),
    Mutant(
        "I-14",
        "a short fine-tuning that forgets the long context before it",
        Bent(changes.stage("sft_32k", max_context=128)),
        LLAMA,
    ),
    Mutant(
        "I-23",
        "a child that is wider as well as deeper",
        Edited(MINI, r"(ouro_2_6b: \{layers: \d+, hidden: )\d+", r"\g<1>48"),
        OURO,
    ),
    Mutant(
        "I-23",
        "parent and child the wrong way round",
        Bent(changes.both(changes.model("upcycle_2_6b", "llm", layers=2), changes.model("stable_1", "llm", layers=4))),
        OURO,
        also=frozenset({"I-31"}),
    ),
    Mutant(
        "I-29",
        "a long context at the short context's base",
        Edited("kimi_vl/joint_longctx.yaml", "base: 800_000", "base: 10_000"),
        scale="paper",
        also=frozenset({"I-37"}),
    ),
    Mutant(
        "I-29",
        "64K positions at a base of 10,000",
        Edited("ouro/longct_1_4b.yaml", "base: 1_000_000", "base: 10_000"),
        scale="paper",
        also=frozenset({"I-37", "S-14"}),
    ),
    Mutant(
        "I-31",
        "a layer of the child that comes from nowhere",
        Bent(changes.init("upcycle_2_6b", "llm", layer_map=(0, 1, 0))),
        OURO,
    ),
    Mutant(
        "I-31",
        "one layer copied more often than the others",
        Bent(changes.init("upcycle_2_6b", "llm", layer_map=(0, 1, 0, 0))),
        OURO,
    ),
    Mutant(
        "I-31",
        "the loops are not divided by what the layers grow",
        Edited("ouro/stable_2_2_6b.yaml", r"loops: \{count: 4, beta: 0\.05\}", "loops: {count: 8, beta: 0.05}"),
    ),
    Mutant("S-01", "a contrastive head of another size", Edited(MINI, r"(contrastive: \{hidden: )\d+", r"\g<1>32")),
    Mutant("S-01", "a text tower of another size", Bent(changes.model("vit_coca", "text_tower", hidden=32))),
    Mutant(
        "S-02",
        "a decoder that expects other image features",
        Edited(MINI, r"(decoder: .*vision_hidden: )\d+", r"\g<1>32"),
    ),
    Mutant(
        "S-02",
        "a vision tower that grew alone",
        Bent(changes.model("vit_coca", "vit", hidden=128)),
        also=frozenset({"S-01"}),
    ),
    Mutant("S-03", "a projector into another width", Edited(MINI, r"(projector: .*llm_hidden: )\d+", r"\g<1>48")),
    Mutant("S-03", "a projector from another width", Bent(changes.model("vit_align", "projector", vision_hidden=32))),
    Mutant("S-04", "a vocabulary smaller than the tokenizer's", Edited(MINI, r"^vocab: \d+", "vocab: 1000")),
    Mutant("S-04", "one model with a smaller vocabulary", Bent(changes.model("vit_align", "llm", vocab=512))),
    Mutant("S-05", "a text tower too short for the captions", Edited(MINI, r"(text_tower: .*length: )\d+", r"\g<1>2")),
    Mutant("S-05", "a decoder too short for the captions", Bent(changes.model("vit_coca", "decoder", length=2))),
    Mutant("S-06", "heads that do not divide the hidden size", Edited(MINI, r"(moonvit: .*heads: )\d+", r"\g<1>3")),
    Mutant(
        "S-06", "key-value heads that do not divide the heads", Bent(changes.model("sft_1m", "llm", kv_heads=3)), LLAMA
    ),
    Mutant(
        "S-06",
        "more experts active than there are",
        Bent(changes.model("joint_pretrain", "llm", active_experts=9)),
        also=frozenset({"I-35"}),
    ),
    Mutant("S-07", "a waiver of nothing", Bent(changes.stage("sft_1m", waivers=(waiver("I-99", "because"),))), LLAMA),
    Mutant("S-07", "a waiver without a reason", Bent(changes.stage("sft_1m", waivers=(waiver("I-19", " "),))), LLAMA),
    Mutant(
        "S-08",
        "images larger than a packed row",
        Edited("kimi_vl/vit_coca.yaml", "cap: 896", "cap: 1792"),
        scale="paper",
    ),
    Mutant(
        "S-08",
        "a resolution that no step reads",
        Edited("kimi_vl/vit_coca.yaml", "after: 75%", "after: 99.9999999999%"),
        scale="paper",
    ),
    Mutant(
        "S-08",
        "resolutions that fall",
        Edited("kimi_vl/vit_coca.yaml", r"cap: 448\}, \{after: 75%, cap: 896\}", "cap: 896}, {after: 75%, cap: 448}"),
        scale="paper",
    ),
    Mutant(
        "I-11",
        "interpolation that lengthens positions",
        Edited("llama31_1m/sft_32k.yaml", "interpolation: 8", "interpolation: 0.5"),
    ),
    Mutant("I-11", "a base at which all pairs turn alike", Edited("ouro/warmup.yaml", "base: 10_000", "base: 32")),
    Mutant(
        "I-23",
        "an upcycled module that the parent does not have",
        Bent(changes.stage("stable_1", modules={})),
        OURO,
        also=frozenset({"I-06", "I-11", "I-34"}),
    ),
    Mutant(
        "S-06",
        "an odd number of rotated dimensions",
        Edited(MINI, r"qk_rope_dim: \d+", "qk_rope_dim: 7"),
        also=frozenset({"I-11"}),
    ),
    Mutant(
        "S-06",
        "more dense layers than layers",
        Bent(changes.model("joint_pretrain", "llm", dense_layers=4)),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "S-15",
        "what experts give, ten times as large",
        Edited("kimi_vl/pipeline.yaml", r"routed_scale: 2\.446", "routed_scale: 24.46"),
        scale="paper",
    ),
    Mutant(
        "S-15",
        "an eps of a norm that single precision does not see",
        Edited("llama31_1m/pipeline.yaml", "norm_eps: 1e-5", "norm_eps: 1e-15"),
        scale="paper",
    ),
)
