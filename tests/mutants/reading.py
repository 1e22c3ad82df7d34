"""Defects of what is read, of masks, and of a scale that is not the same pipeline."""

from __future__ import annotations

from dataclasses import replace

from stages.check.context import Context
from tests.mutants import changes
from tests.mutants.models import MINI
from tests.mutants.mutant import LLAMA, OURO, Bent, Edited, Mutant


def _without_an_edge(context: Context) -> Context:
    old = context.pipeline
    return replace(context, pipeline=replace(old, edges=old.edges[:-1]))


MUTANTS = (
    Mutant(
        "I-18",
        "a stage that begins where its corpus began",
        Bent(changes.source("cpt_512k", 0, lambda old, _: old.model_copy(update={"start": 0}))),
        LLAMA,
    ),
    Mutant(
        "I-18",
        "the second phase reads what the first has read",
        Bent(changes.source("joint_longctx", 1, lambda old, _: old.model_copy(update={"start": old.start - 5000}))),
    ),
    Mutant(
        "I-18",
        "a stretch too short for its phase",
        Bent(changes.source("stable_1", 0, lambda old, _: old.model_copy(update={"end": old.start + 1000}))),
        OURO,
    ),
    Mutant(
        "I-19",
        "documents of a row see each other",
        Edited("llama31_1m/cpt_1m.yaml", "document_mask: true", "document_mask: false"),
    ),
    Mutant(
        "I-19",
        "images of a row see each other",
        Edited("kimi_vl/vit_coca.yaml", "document_mask: true", "document_mask: false"),
    ),
    Mutant(
        "I-20",
        "answers cut from their questions",
        Edited("llama31_1m/sft_32k.yaml", "packing: whole", "packing: concatenate"),
    ),
    Mutant(
        "I-20",
        "answers that see other conversations",
        Edited("ouro/reasoning_sft_1_4b.yaml", "document_mask: true", "document_mask: false"),
        also=frozenset({"I-19"}),
    ),
    Mutant(
        "I-20",
        "fine-tuning that learns the questions too",
        Edited("llama31_1m/sft_256k.yaml", "objective: sft", "objective: next_token"),
    ),
    Mutant(
        "I-30", "a share that falls", Edited("kimi_vl/joint_pretrain.yaml", "from: 0%, to: 40%", "from: 40%, to: 0%")
    ),
    Mutant(
        "I-30",
        "a share that passes its cap",
        Bent(changes.phase("joint_pretrain", share=lambda old: old.share.model_copy(update={"last": (3, 5)}))),
        also=frozenset({"I-18", "I-35"}),
    ),
    Mutant(
        "I-30",
        "a ramp that does not end within its phase",
        Bent(changes.phase("joint_pretrain", share=lambda old: old.share.model_copy(update={"over": 10**6}))),
        also=frozenset({"I-18", "I-35"}),
    ),
    Mutant(
        "I-35",
        "scaling that touches no frequency any more",
        Edited(MINI, r"(llama31_8b: .*head_dim: )\d+", r"\g<1>2"),
        LLAMA,
        also=frozenset({"I-29"}),
    ),
    Mutant(
        "I-35",
        "a batch ramp without steps",
        Edited(MINI, r"(kimi_vl:\n(?:    .*\n)*?    batch: )\S+", r"\g<1>1/100_000_000"),
        also=frozenset({"I-08"}),
    ),
    Mutant(
        "I-35",
        "no grouped-query attention left",
        Edited(MINI, r"(llama31_8b: .*heads: (\d+), kv_heads: )\d+", r"\g<1>\g<2>"),
        LLAMA,
    ),
    Mutant(
        "I-35",
        "one stage with a rate of its own",
        Bent(changes.piece("vit_coca", 1, last=lambda old: old.last / 2)),
        also=frozenset({"I-28"}),
    ),
    Mutant(
        "I-35",
        "a context that overtakes another",
        Bent(changes.both(changes.phase("sft_32k", context=1024), changes.phase("sft_256k", context=512))),
        LLAMA,
    ),
    Mutant("I-35", "a miniature that lost an edge", Bent(_without_an_edge), OURO),
    Mutant(
        "I-35",
        "a phase that a smaller scale leaves out",
        Bent(
            lambda context: changes.with_stage(
                context, "joint_longctx", phases=context.pipeline.stages["joint_longctx"].phases[:1]
            )
        ),
        also=frozenset({"I-03", "I-14"}),
    ),
    Mutant(
        "I-35",
        "scaling of positions that only the full size has",
        Bent(changes.rope("sft_1m", llama3=None)),
        LLAMA,
        also=frozenset({"I-37", "I-12", "I-13", "I-14"}),
    ),
    Mutant(
        "I-35",
        "images of one resolution where they should grow",  # CoCa without any: the loader refuses it
        Bent(
            changes.phase(
                "vit_coca", coca=lambda old: old.coca.model_copy(update={"resolutions": old.coca.resolutions[:1]})
            )
        ),
    ),
    Mutant(
        "I-35",
        "another weight of the captions",
        Bent(changes.phase("vit_coca", coca=lambda old: old.coca.model_copy(update={"caption_weight": 1.0}))),
    ),
    Mutant(
        "I-35", "a share that only the full size has", Bent(changes.phase("joint_cooldown", share=None, sources=()))
    ),
    Mutant(
        "I-35",
        "a ramp cut short",
        Bent(changes.phase("joint_pretrain", share=lambda old: old.share.model_copy(update={"over": 0}))),
        also=frozenset({"I-18", "I-30"}),
    ),
    Mutant(
        "I-35",
        "a batch that shrinks where it should grow",
        Bent(
            changes.phase(
                "text_pretrain",
                batch=lambda old: tuple(
                    new.model_copy(update={"sequences": other.sequences})
                    for new, other in zip(old.batch, reversed(old.batch), strict=True)
                ),
            )
        ),
    ),
    Mutant(
        "I-35",
        "a budget that overtakes another",
        Bent(changes.phase("cpt_1m", budget=lambda old: 10 * old.budget)),
        LLAMA,
        also=frozenset({"I-03", "I-18"}),
    ),
    Mutant(
        "I-35",
        "a hand-over that only this scale has",
        Bent(changes.init("sft_256k", "llm", optimizer="inherit")),
        LLAMA,
    ),
)
