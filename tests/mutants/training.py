"""Defects of ledgers, edges, optimizers and weights of losses."""

from __future__ import annotations

from stages.spec.resolved_phases import BatchStep
from tests.mutants import changes
from tests.mutants.mutant import LLAMA, Bent, Edited, Mutant

MUTANTS = (
    Mutant(
        "I-06",
        "the edge is silent about a module",
        Bent(lambda context: changes.with_stage(context, "joint_cooldown", init={})),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-06",
        "a parent that hands over nothing",
        Bent(changes.stage("joint_cooldown", parents=("kimi_vl/joint_pretrain", "kimi_vl/vit_coca"))),
    ),
    Mutant(
        "I-06",
        "fresh weights under an inherited optimizer",
        Bent(changes.init("vit_align", "projector", optimizer="inherit")),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-06",
        "a stage without parents continues its data",
        Bent(changes.stage("text_pretrain", data="continue")),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-07",
        "the second phase does not begin where the first ends",
        Bent(changes.phase("joint_longctx", 1, clock_start=lambda old: old.clock_start - 2048)),
        also=frozenset({"I-03", "I-35"}),
    ),
    Mutant(
        "I-07",
        "a batch ramp that is never reached",
        Bent(changes.phase("text_pretrain", batch=lambda old: (*old.batch, BatchStep(after=old.budget, sequences=64)))),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-07",
        "a batch ramp out of order",
        Bent(changes.phase("text_pretrain", batch=lambda old: tuple(reversed(old.batch)))),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-07",
        "a budget in millions where billions were meant: less than one step",
        Edited("kimi_vl/vit_align.yaml", r"budget: 0\.1T", "budget: 0.1M"),
        scale="paper",
        also=frozenset({"I-03", "I-27", "I-28"}),
    ),
    Mutant(
        "I-08",
        "micro-batches that do not divide the batch",
        Edited("kimi_vl/joint_cooldown.yaml", "micro_batch: 4 seq", "micro_batch: 3 seq"),
        scale="paper",
        also=frozenset({"I-46"}),
    ),
    Mutant(
        "I-08",
        "a micro-batch larger than the batch",
        Bent(changes.phase("cpt_1m", micro_batch=lambda old: 2 * old.batch[0].sequences)),
        LLAMA,
    ),
    Mutant(
        "I-15",
        "optimizer state inherited from a released model",
        Edited("llama31_1m/cpt_256k.yaml", "optimizer: reset", "optimizer: inherit"),
    ),
    Mutant(
        "I-15",
        "optimizer state inherited from where the module was frozen",
        Bent(changes.init("joint_pretrain", "llm", parent="kimi_vl/vit_align")),
        also=frozenset({"I-06", "I-28", "I-35"}),  # the language model is not among what I-28 is waived for
    ),
    Mutant(
        "I-27",
        "a budget that no longer meets the published total",
        Edited("ouro/midtrain_1_4b.yaml", "budget: 300B", "budget: 200B"),
        scale="paper",
        also=frozenset({"I-03", "S-14"}),
    ),
    Mutant(
        "I-27",
        "a total that was copied wrongly",
        Edited("kimi_vl/pipeline.yaml", r"tokens: 2\.3T", "tokens: 2.2T"),
        scale="paper",
    ),
    Mutant(
        "I-27",
        "a vocabulary rounded to thousands: released weights would not fit",
        Edited("llama31_1m/pipeline.yaml", "vocab: 128_256", "vocab: 128_000"),
        scale="paper",
    ),
    Mutant(
        "I-27",
        "a tied head where the released model has one of its own",
        Edited("llama31_1m/pipeline.yaml", "tied: false", "tied: true"),
        scale="paper",
    ),
    Mutant(
        "I-34",
        "a projector frozen at random weights",
        Edited(
            "kimi_vl/vit_align.yaml",
            r"train: \[vit, projector\]\nfrozen: \[llm\]",
            "train: [vit]\nfrozen: [projector, llm]",
        ),
        also=frozenset({"I-15"}),
    ),
    Mutant(
        "I-34",
        "training without an optimizer",
        Bent(changes.stage("sft_1m", optimizer=None)),
        LLAMA,
        also=frozenset({"I-35"}),
    ),
    Mutant("I-34", "nothing is trained", Bent(changes.stage("sft_1m", trained=())), LLAMA, also=frozenset({"I-35"})),
    Mutant(
        "I-34",
        "training without a schedule",
        Bent(changes.stage("sft_1m", schedule=None)),
        LLAMA,
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-34",
        "a release that trains",
        Bent(changes.stage("instruct", trained=("llm",))),
        LLAMA,
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-06",
        "weights inherited from nowhere",
        Bent(changes.init("joint_cooldown", "vit", parent=None)),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-06",
        "a release without a name",
        Bent(changes.init("vit_coca", "vit", release=None)),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-06",
        "a layer map where nothing is upcycled",
        Bent(changes.init("joint_cooldown", "llm", layer_map=(0, 1, 2))),
    ),
    Mutant(
        "I-48",
        "the two betas exchanged",
        Edited("llama31_1m/pipeline.yaml", r"beta1: 0\.9\n    beta2: 0\.95", "beta1: 0.95\n    beta2: 0.9"),
    ),
    Mutant(
        "I-48",
        "an average of the weights that is one step long",
        Edited("llama31_1m/pipeline.yaml", r"clip: 1\.0", "clip: 1.0\n    ema: 0.0999"),
    ),
    Mutant(
        "I-48",
        "every fourth step skipped",
        Edited("kimi_vl/pipeline.yaml", r"clip: 1\.0", "clip: 1.0\n    skip: {window: 128, sigmas: 0.6}"),
    ),
    Mutant("I-48", "a limit that no gradient meets", Edited("llama31_1m/pipeline.yaml", r"clip: 1\.0", "clip: 100")),
    Mutant("I-48", "a limit that every gradient meets", Edited("kimi_vl/pipeline.yaml", r"clip: 1\.0", "clip: 0.001")),
    Mutant(
        "I-48",
        "a weight decay a hundred times the published one",
        Edited("kimi_vl/pipeline.yaml", r"weight_decay: 0\.1", "weight_decay: 10"),
    ),
    Mutant("I-48", "Muon without momentum", Edited("kimi_vl/pipeline.yaml", r"momentum: 0\.95", "momentum: 0")),
    Mutant(
        "I-48",
        "updates ten times those of AdamW",
        Edited("kimi_vl/pipeline.yaml", r"update_rms: 0\.2", "update_rms: 2"),
    ),
    Mutant(
        "I-48",
        "squares that are never forgotten",
        Edited("llama31_1m/pipeline.yaml", r"beta2: 0\.95", "beta2: 0.9999999"),
    ),
    Mutant(
        "I-50",
        "a router's bias a hundred times as quick",
        Edited("kimi_vl/text_pretrain.yaml", "bias_update: 1e-3", "bias_update: 1e-1"),
    ),
    Mutant(
        "I-50",
        "nothing balances new experts",
        Edited("kimi_vl/text_pretrain.yaml", "bias_update: 1e-3, aux_loss: 1e-4", "bias_update: 0, aux_loss: 0"),
    ),
    Mutant(
        "I-50",
        "captions that outweigh the contrast",
        Edited("kimi_vl/vit_coca.yaml", "caption_weight: 2", "caption_weight: 200"),
    ),
)
