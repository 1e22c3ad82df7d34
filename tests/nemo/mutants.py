"""Known traps of Megatron-Core and Megatron-Bridge, each done to the engine in a forked case: who notices?

A mutant changes what Megatron's side does, never what the stage says. Its stage is then trained for a few steps as
`parity` does, with the guards before step 1. `outcome` is what stopped it, or the figures by which its numbers differ
from the torch engine's; empty where nobody noticed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from stages.engines import Inputs, torch_engine, training
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import Llama3Scaling, Rope
from stages.store import manifest
from stages.store.manifest import Parent
from tests.nemo import engines, parity
from tests.nemo.engines import Layout, layout
from tests.nemo.parity import Course, Figures
from tests.nemo.ranks import RankError
from tests.nemo.traps import Patch, backward, computed, handover, layers, optimizer, rows, sums
from tests.unit.train import tiny

SCALED = Rope(
    base=10_000.0,
    llama3=Llama3Scaling(factor=8.0, low=1.0, high=4.0, original=16),
    interpolation=2.0,
)
NUMBERS = "numbers: "
OTHER = "computes something else.*"
GRADIENTS = "gradients are not the torch engine's from the same weights: "
UPDATE = "update is not the one of the spec's optimizer: "


@dataclass(frozen=True)
class Mutant:
    """`trap`: what Megatron does; `by`: a pattern of the outcome; `child`: the stage goes on from a parent's result."""

    trap: str
    apply: Patch
    by: str
    stage: Stage = field(default_factory=parity.llama)
    where: Layout = field(default_factory=layout)
    child: bool = False


def outcome(mutant: Mutant, folder: Path, apply: bool = True) -> str:
    """What was noticed of a mutant; with `apply` false, of its stage as it is."""
    stage, given = _child(mutant.stage, folder) if mutant.child else (mutant.stage, tiny.inputs(folder))
    on_nemo, change = engines.on_nemo(stage, mutant.where), mutant.apply if apply else _nothing
    try:
        found = engines.call(mutant.where.ranks, _changed, change, on_nemo, given)[0]
    except RankError as error:
        return _said(str(error))
    return _numbers(found, parity.by_torch(stage, given), Figures())


def _changed(change: Patch, stage: Stage, given: Inputs) -> Course | None:
    change(pytest.MonkeyPatch())  # this process ends with the case: nothing is put back
    return parity.by_nemo(stage, given)


def _nothing(patch: pytest.MonkeyPatch) -> None:
    """As it is."""


def _said(raised: str) -> str:
    """The message of the first rank's exception, without its traceback."""
    last = [line for line in raised.split("\nrank ")[0].splitlines() if re.match(r"\S*(Error|Exception)\b", line)]
    start = raised.index(last[-1]) if last else 0
    return " ".join(raised[start:].split("\nrank ")[0].split("\n`stages show")[0].split())


def _numbers(found: Course, wanted: Course, figures: Figures) -> str:
    far = parity.difference(found, wanted)
    over = {name: getattr(far, name) for name in ("loss", "gradient", "losses", "norms", "weights")}
    allowed = {**vars(figures), "norms": figures.losses}
    if far.within(figures):
        return ""
    return NUMBERS + ", ".join(f"{name} {value:.1e}" for name, value in over.items() if not value <= allowed[name])


def _child(stage: Stage, folder: Path) -> tuple[Stage, Inputs]:
    """The stage after a parent of the same model, trained by the torch engine, whose optimizer and weights go on."""
    given = tiny.inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PhaseData", tiny.Data)
        torch_engine.run(stage, given)
    found, digest = manifest.read_with_digest(given.layout.manifest("tiny/box"))
    init = Init(weights="inherit", parent="tiny/box", release=None, optimizer="inherit", layer_map=None, stand_in=False)
    changes = {"name": "child", "parents": ("tiny/box",), "init": dict.fromkeys(stage.modules, init)}
    parents = {"tiny/box": Parent(key=found.key, manifest=digest)}
    return stage.model_copy(update=changes), replace(tiny.inputs(folder, "b" * 32), parents=parents)


def hardest() -> Stage:
    """Muon whose clip cuts."""
    return parity.llama(optimizer=tiny.MUON.model_copy(update={"clip": 0.05}))


MOONLIGHT = tiny.make("moe")
WIDE = MOONLIGHT.model_copy(update={"modules": {"llm": tiny.MOONLIGHT.model_copy(update={"init_std": 0.2})}})
PREFERRING = parity.preferring(parity.llama())
UNDER_MUON = parity.llama(optimizer=tiny.MUON)
TIED = parity.ouro().model_copy(update={"modules": {"llm": tiny.OURO.model_copy(update={"tied": True})}})

DIVIDED = layout(2, tp=2)
MUTANTS = [
    Mutant(
        "RoPE: Core's own frequencies, with an original context of 8192 hard-coded",
        layers.cores_rotary,
        r"I-1[123]",
        parity.llama(rope=SCALED),
    ),
    Mutant("RoPE: frequencies rounded to bf16", layers.rounded_rotary, r"I-1[123]"),
    Mutant(
        "A recipe's default that moved: epsilon of the norms",
        layers.fields("model", layernorm_epsilon=1e-6),
        "model.layernorm_epsilon",
    ),
    Mutant("Core's default in the place of the spec's: beta2 of Adam", layers.adam_defaults, "optimizer.adam_beta2"),
    Mutant("Dropout of Core's default", layers.fields("model", hidden_dropout=0.1), "model.hidden_dropout"),
    Mutant("Dropout in attention", layers.fields("model", attention_dropout=0.1), "attention_dropout"),
    Mutant(
        "Gains centred at zero",
        layers.fields("model", layernorm_zero_centered_gamma=True),
        "model.layernorm_zero_centered_gamma",
    ),
    Mutant(
        "A vocabulary padded to a multiple of 128",
        layers.fields("model", should_pad_vocab=True, make_vocab_size_divisible_by=128),
        r"llm\.\S*(embed_tokens|lm_head).weight \[128,",
    ),
    Mutant(
        "Embeddings tied to the head",
        layers.fields("model", share_embeddings_and_output_weights=True),
        "share_embeddings_and_output_weights|lm_head",
    ),
    Mutant(
        "A mean for each micro-batch in the place of one over all tokens",
        layers.fields("model", calculate_per_token_loss=False),
        "model.calculate_per_token_loss",
    ),
    Mutant(
        "Gradients averaged by the collective",
        layers.fields("ddp", average_in_collective=True),
        "[Aa]verage.in.collective",
        where=layout(2),
    ),
    Mutant(
        "Gradients reduced in the model's precision",
        layers.fields("ddp", grad_reduce_in_fp32=False),
        "ddp.grad_reduce_in_fp32",
    ),
    Mutant("Core's scheduler overrides the rate", optimizer.scheduler, "an update at the rate "),
    Mutant("Weight decay leaves out norms where the spec says all", optimizer.standard_decay, "wd_mult"),
    Mutant(
        "Weight decay on norms where the spec says matrices",
        optimizer.every_decay,
        "wd_mult",
        parity.llama(optimizer=parity.UNDECAYED),
    ),
    Mutant(
        "Muon on fused query, key and value",
        optimizer.fused(["linear_qkv"]),
        UPDATE,
        parity.llama(optimizer=tiny.MUON),
    ),
    Mutant(
        "Muon on fused gate and up",
        optimizer.fused(["linear_fc1"]),
        UPDATE,
        parity.llama(optimizer=tiny.MUON),
    ),
    Mutant("Muon: a clip over all parameters", optimizer.clipped_whole, "numbers: .*weights", hardest()),
    Mutant("linear_fc1 with up before gate", handover.swapped, f"{OTHER} behind layer 1"),
    Mutant("linear_qkv with all queries first", handover.regrouped, f"{OTHER} behind layer 1"),
    Mutant("The stock causal mask: documents see each other", rows.no_documents, f"{OTHER} behind layer 1"),
    Mutant("Labels shifted twice", rows.shifted, f"{OTHER} behind the last layer"),
    Mutant("Padding in the loss", rows.padding_counts, "targets were computed, the rows have"),
    Mutant("consumed_train_samples off by one", rows.samples_off, "numbers: loss"),
    Mutant(
        "The norm counts replicated parameters once for each tensor-parallel rank",
        optimizer.norm_twice,
        f"{GRADIENTS}.*the norm of all",
        where=DIVIDED,
    ),
    Mutant(
        "Sequence parallel: gradients of norms not added up",
        sums.norms_not_added,
        "gradient along",
        where=layout(2, tp=2, sequence_parallel=True),
    ),
    Mutant("`finetune`: weights come in, moments do not", handover.weights_only, "I-15.*moments", child=True),
    Mutant(
        "`finetune`: moments come in, their clock does not",
        handover.clock_dropped,
        "I-15.*moments.*llm.step",
        child=True,
    ),
    Mutant("Weights drawn again after loading", handover.drawn_again, "I-15.*weights", child=True),
    Mutant("The experts' bias reset on load", handover.bias_reset, "I-15.*weights", MOONLIGHT, child=True),
    Mutant(
        "The router computes in the model's precision",
        layers.fields("model", moe_router_dtype=None),
        "model.moe_router_dtype|router",
        MOONLIGHT,
    ),
    Mutant(
        "The experts' bias by Core's rule, without the mean of the signs",
        optimizer.cores_balance,
        f"{UPDATE}bias of a router",
        MOONLIGHT,
    ),
    Mutant("Gradients of replicas not added up", sums.not_added_up, "gradient along", where=layout(2)),
    Mutant(
        "The same with the distributed optimizer, under which nothing else differs",
        sums.not_added_up,
        "gradient along",
        where=layout(2, distributed_optimizer=True),
    ),
    Mutant("Half of the loss", sums.halved, "gradient along", MOONLIGHT),
    Mutant("Gradients not divided by the targets", sums.undivided, "gradient along"),
    Mutant("Half of the loss after each loop", sums.halved, "gradient along", parity.ouro()),
    Mutant("Loops: gradients of replicas not added up", sums.not_added_up, "gradient along", parity.ouro(), layout(2)),
    Mutant("Half of the loss of answers", sums.halved, "gradient along", PREFERRING),
    Mutant("Pairs: gradients not divided", sums.undivided, "gradient along", PREFERRING),
    Mutant(
        "Pairs: gradients of context-parallel ranks not added up",
        sums.not_added_up,
        "gradient along",
        PREFERRING,
        layout(2, cp=2),
    ),
    Mutant("No mask handed to attention", layers.mask_dropped, "segments: found none"),
    Mutant("Another scale handed to attention", layers.scaled, "softmax_scale"),
    Mutant("Another epsilon handed to norms", layers.other_eps, r"layernorm\.eps is 0.001"),
    Mutant("Rotary pairs of neighbours", computed.pairs_interleaved, f"{OTHER} behind layer 1"),
    Mutant("Angles of another base than the frequencies", computed.other_positions, f"{OTHER} behind layer 1"),
    Mutant("The same with loops", computed.other_positions, f"{OTHER} behind layer 1", parity.ouro()),
    Mutant("A window in attention", computed.windowed, f"{OTHER} behind layer 1"),
    Mutant("Norms of queries and keys", computed.normed_keys, f"{OTHER} behind layer 1"),
    Mutant("Logits made by the embedding", computed.other_head, f"{OTHER} behind the last layer"),
    Mutant("A softmax in the routers", computed.softmax_scores, f"{OTHER} behind layer 2", WIDE),
    Mutant("One loop less", computed.loop_short, OTHER, parity.ouro()),
    Mutant("Attention's scale changed once it was made", computed.scale_later, r"core_attention\.scale"),
    Mutant("Another activation handed to a layer", computed.other_activation, r"mlp\.activation_func"),
    Mutant("A norm that is not ours", computed.cores_norm, "final_layernorm: kind of norm"),
    Mutant("Another factor in the routers", layers.other_factor, r"router\.scale is 1.0", MOONLIGHT),
    Mutant("Betas of the optimizer's groups", optimizer.groups(betas=(0.9, 0.999)), "a group's betas"),
    Mutant(
        "Epsilon of the optimizer's groups, of AdamW beside Muon",
        optimizer.groups(eps=1e-6),
        "a group's eps",
        UNDER_MUON,
    ),
    Mutant("A parameter in no group of the optimizer", optimizer.left_out, "is in no group"),
    Mutant("A clip that does nothing", optimizer.not_clipped, "were clipped to"),
    Mutant("Core's scheduler overrides weight decay", optimizer.decay_doubled, "an update with weight decay"),
    Mutant("Replicas that all train on the same rows", rows.first_rows, "rows are divided", where=layout(2)),
    Mutant("Ranks that all have the same positions", rows.first_positions, "rows are divided", where=layout(2, cp=2)),
    Mutant("A pipeline hands half of the gradient back", backward.pipeline, GRADIENTS, where=layout(2, pp=2)),
    Mutant("Gathered keys have one rank's gradient", backward.keys_of_own_rank, GRADIENTS, where=layout(2, cp=2)),
    Mutant("Values have 1.001 times their gradient", backward.attention(1.001), GRADIENTS),
    Mutant("Gradients of the last micro-batch alone", backward.overwritten, GRADIENTS),
    Mutant("Embeddings without a gradient", backward.no_way_to_words, f"{GRADIENTS}that of llm.model.embed_tokens"),
    Mutant(
        "Gradients of experts divided by their ranks", backward.experts_shared, GRADIENTS, MOONLIGHT, layout(2, ep=2)
    ),
    Mutant("A balance loss from which nothing is learnt", backward.unbalanced, GRADIENTS, MOONLIGHT),
    Mutant("Loops, tied: the output matrix has half of its gradient", backward.half_a_head, GRADIENTS, TIED),
    Mutant("A vision tower without a gradient", backward.unseen, GRADIENTS, parity.routed("vit", "projector")),
    Mutant("Weight decay within the gradient", optimizer.coupled_decay, f"{UPDATE}.*weight of"),
    Mutant("Moments corrected as of another step", optimizer.other_clock, f"{UPDATE}.*updates instead of"),
    Mutant("Gradients rounded before the update", optimizer.rounded_gradients, f"{UPDATE}gradient of"),
    Mutant("A matrix that is put back", optimizer.put_back, f"{UPDATE}weight of"),
    Mutant("Muon without Nesterov's momentum", optimizer.plain_momentum, f"{UPDATE}weight of", UNDER_MUON),
    Mutant("Muon of each rank's part of a matrix", optimizer.muon_of_parts, f"{UPDATE}weight of", UNDER_MUON, DIVIDED),
]
