"""Defects of schedules and of the clocks at which they are read."""

from __future__ import annotations

from stages.check.context import Context
from stages.spec.resolved_training import Schedule
from tests.mutants import changes
from tests.mutants.mutant import OURO, Bent, Edited, Mutant


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
        "I-03", "a warm-up that outlasts its stage", Edited("llama31_1m/pipeline.yaml", r"for: 12\.5M", "for: 12.5B")
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
        also=frozenset({"I-03", "I-36"}),  # the decay begins where it ends
    ),
    Mutant(
        "I-04",
        "the decay is read again in its middle, from the rate reached",
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
)
