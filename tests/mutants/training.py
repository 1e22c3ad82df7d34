"""Defects of schedules, ledgers, edges and optimizers."""

from __future__ import annotations

from stages.check.context import Context
from stages.spec.resolved_phases import BatchStep
from stages.spec.resolved_training import Schedule
from tests.mutants import changes
from tests.mutants.mutant import Bent, Edited, Mutant

KIMI, OURO, LLAMA = "kimi_vl", "ouro", "llama31_1m"


def _other_schedule(context: Context) -> Schedule:
    schedule = context.pipeline.stages["joint_longctx"].schedule
    assert schedule is not None
    return schedule.model_copy(update={"name": "other"})


MUTANTS = (
    Mutant(
        "I-03",
        "the decay ends before the stage and the rest trains at the floor",
        Edited(
            "llama31_1m/pipeline.yaml",
            r"\{shape: cosine, to: 2e-6, for: 1\.8B\}",
            "{shape: cosine, to: 2e-6, for: 0.9B}\n    - {shape: constant, for: 0.9B}",
        ),
    ),
    Mutant(
        "I-03",
        "the decay reaches zero in the middle of the stage",
        Edited(
            "llama31_1m/pipeline.yaml",
            r"\{shape: cosine, to: 2e-6, until: 1B\}",
            "{shape: cosine, to: 0, until: 0.5B}\n    - {shape: linear, to: 2e-6, until: 1B}",
        ),
    ),
    Mutant(
        "I-03",
        "a budget is halved and the schedule's horizon is not",
        Edited("llama31_1m/sft_32k.yaml", "budget: 1B", "budget: 0.5B"),
    ),
    Mutant(
        "I-03",
        "a length where an end was meant: the decay is never read",
        Edited("llama31_1m/pipeline.yaml", r"\{shape: constant, until: 15B\}", "{shape: constant, for: 15B}"),
    ),
    Mutant(
        "I-03",
        "a warm-up that outlasts its stage",
        Edited("llama31_1m/pipeline.yaml", r"for: 12\.5M", "for: 12.5B"),
    ),
    Mutant(
        "I-03",
        "a stage is skipped: the decay ends in no lineage",
        Edited("llama31_1m/cpt_1m.yaml", "from: cpt_512k", "from: cpt_256k"),
        also=frozenset({"I-38"}),
    ),
    Mutant(
        "I-03",
        "a schedule pasted from a sibling, with a longer horizon",
        Edited("llama31_1m/sft_1m.yaml", "schedule: sft_1m", "schedule: sft_256k"),
        also=frozenset({"S-11"}),
    ),
    Mutant(
        "I-03",
        "the budget of a stage's last phase is cut",
        Edited("kimi_vl/joint_longctx.yaml", r"budget: 0\.15T(\n    context: 128Ki)", r"budget: 0.14T\1"),
    ),
    Mutant(
        "I-03",
        "the schedule ends after the stage",
        Bent(changes.piece("joint_longctx", -1, end=lambda old: old.end + 1000)),
    ),
    Mutant(
        "I-28",
        "a router's rate by a schedule that begins elsewhere than the parent ended",
        Edited("kimi_vl/joint_cooldown.yaml", "bias_update: 0", "bias_update: {schedule: text}"),
        refused=True,
    ),
    Mutant(
        "I-28",
        "a loss weight by the learning rate's schedule",
        Edited("ouro/stable_1.yaml", r"beta: 0\.1", "beta: {schedule: stable}"),
        also=frozenset({"I-36"}),
    ),
    Mutant(
        "I-36",
        "a balance of experts by the learning rate's schedule",
        Edited(
            "kimi_vl/text_pretrain.yaml",
            r"(router: .*aux_loss: )1e-4(\}\n(?:.*\n)*)  - \{covers: \[phases.main.router.aux_loss.*\n",
            r"\1{schedule: text}\2",
        ),
        also=frozenset({"I-28", "I-03"}),
    ),
    Mutant(
        "I-04",
        "the peak changes under a running clock",
        Bent(changes.piece("joint_longctx", 1, first=lambda old: 2 * old.first)),
    ),
    Mutant(
        "I-04",
        "the child's clock runs on from elsewhere",
        Bent(changes.phase("stable_1", clock_start=lambda old: old.clock_start + 512)),
        OURO,
        also=frozenset({"I-03"}),
    ),
    Mutant(
        "I-04",
        "the clock is reset under a schedule that the parent was reading",
        Edited("ouro/longct_1_4b.yaml", "clock: continue", "clock: reset"),
        also=frozenset({"I-03"}),
    ),
    Mutant(
        "I-04",
        "the decay is read anew in its middle, from the rate reached",
        Edited("kimi_vl/joint_longctx.yaml", "clock: continue", "clock: reset"),
        also=frozenset({"I-03"}),
    ),
    Mutant(
        "I-04",
        "the clock continues under another schedule",
        Bent(lambda context: changes.with_stage(context, "joint_longctx", schedule=_other_schedule(context))),
    ),
    Mutant(
        "I-04",
        "a reset clock that does not begin at zero",
        Bent(changes.stage("joint_longctx", clock="reset")),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-05",
        "a stretch of the clock has no piece",
        Bent(changes.piece("text_pretrain", 1, start=lambda old: old.start + 64)),
        also=frozenset({"I-04"}),
    ),
    Mutant(
        "I-05",
        "the schedule begins after the first step",
        Bent(changes.pieces("vit_coca", lambda old: old[1:])),
        also=frozenset({"I-35"}),
    ),
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
        Bent(
            changes.phase(
                "text_pretrain",
                batch=lambda old: (*old.batch, BatchStep(after=old.budget, sequences=64)),
            )
        ),
        also=frozenset({"I-35"}),
    ),
    Mutant(
        "I-07",
        "a batch ramp out of order",
        Bent(
            changes.phase(
                "text_pretrain",
                batch=lambda old: tuple(reversed(old.batch)),
            )
        ),
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
        "I-28",
        "the child starts at twice the parent's rate",
        Bent(changes.piece("joint_cooldown", 0, first=lambda old: 2 * old.first)),
        also=frozenset({"I-04", "I-35"}),
    ),
    Mutant(
        "I-28",
        "the rate jumps inside the stage",
        Bent(changes.piece("vit_align", 1, first=lambda old: old.first / 2, last=lambda old: old.last / 2)),
        also=frozenset({"I-35"}),
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
