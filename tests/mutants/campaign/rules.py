"""Why a slip that `stages check` is silent about is silent: rules by key and by slip, each with its reason.

- legitimate: the edited specs are those of another run, right in itself; only their author can say that it was not
  meant. `stages diff` shows it.
- later: nothing in specs says what is right, and something that reads more does refuse it before step 1.
- missed: the edited specs are wrong in themselves, or say something that has no effect, and `stages check` is silent.

A silent slip that no rule covers is missed, without a reason; a test asks for none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Verdict = Literal["legitimate", "later", "missed"]

EXACT = ("x10", "/10", "one more", "sibling's value")
AMOUNT = (*EXACT, "prefix")
ALL = ("*",)


@dataclass(frozen=True)
class Rule:
    """`keys` are patterns of an edit's `where` or of "file:place"; the first rule that covers a slip counts."""

    verdict: Verdict
    keys: tuple[str, ...]
    slips: tuple[str, ...]
    reason: str

    def covers(self, where: str, place: str, slip: str) -> bool:
        """Whether the rule is about a slip."""
        named = any(fnmatchcase(where, key) or fnmatchcase(place, key) for key in self.keys)
        return named and any(fnmatchcase(slip, one) for one in self.slips)


def _rules(verdict: Verdict, *table: tuple[str, Iterable[str], str]) -> tuple[Rule, ...]:
    return tuple(Rule(verdict, tuple(keys.split()), tuple(slips), reason) for keys, slips, reason in table)


LATER = _rules(
    "later",
    (
        "corpus:*", ALL,
        "`stages data` measures what it builds and refuses another digest, size, count or longest document",
    ),
    ("tokenizer:*", ALL, "`stages data` refuses a tokenizer of another digest"),
    (
        "stage:*release", ("misspelt", "sibling's name"),
        "the folder of a release is looked for before anything starts, and its tensors are compared",
    ),
    (
        "llama31_1m/base.yaml:rope.* llama31_1m/base.yaml:max_context looped/base.yaml:max_context", ALL,
        "the release's config.json says another value: refused before a weight is read",
    ),
    (
        "llama31_1m/pipeline.yaml:*models.* kimi_vl/pipeline.yaml:*models.moonvit.* "
        "kimi_vl/pipeline.yaml:*models.text_tower.* kimi_vl/pipeline.yaml:*models.contrastive.*",
        (*AMOUNT, "other word", "minus lost"),
        "a model that starts from a release, into which its tensors have to fit",
    ),
    ("scale:*corpora", ("other word",), "published corpora are not here: a run names what is missing before step 1"),
    ("*execution.time_limit", ("other unit",), "how long a job may be is the site's: its scheduler refuses more"),
)  # fmt: skip

LEGITIMATE = _rules(
    "legitimate",
    ("hardware:*", (*AMOUNT, "other word", "other unit"), "another machine; it prices plans and no run reads it"),
    (
        "stage:execution stage:*execution.*", ("removed",),
        "the scale's own value holds where a stage says none, as docs/spec-format.md says",
    ),
    (
        "*execution.time_limit *execution.checkpoint_every *execution.keep_partials", AMOUNT,
        "how long a turn is and what a kill may cost: no result depends on it",
    ),
    (
        "*execution.memory *execution.ranks *execution.nodes *execution.parallel.* scale:*threads "
        "scale:*executions.*.memory scale:*executions.*.ranks", AMOUNT,
        "another layout: no result depends on it",
    ),
    (
        "*execution.activations *execution.parallel.recompute", ("other word",),
        "memory against operations: no result depends on it",
    ),
    ("*execution.parallel.*", ("other word",), "another layout: no result depends on it"),
    ("*execution.determinism", ("other word",), "exact sums against faster ones: the tier of the result says which"),
    (
        "scale:*device scale:*engine_class scale:*torch_class", ("other word",),
        "another device or precision, which this scale can run on",
    ),
    ("scale:*evaluation.samples", AMOUNT, "a larger or smaller sample of evaluations"),
    ("*seed", (*AMOUNT, "removed"), "any seed is as good, the scale's too"),
    ("stage:evaluate stage:evaluate.*", ("removed",), "a stage may be evaluated by less"),
    ("stage:evaluate.*", ("sibling's name",), "another evaluation that this stage allows"),
    ("stage:evaluate_on.data*", ("sibling's name",), "another corpus that an import may be evaluated on"),
    ("stage:evaluate_on.loops", AMOUNT, "evaluations after more loops or fewer than in training"),
    ("looped/base.yaml:evaluate_on", ("removed",), "a stand-in is evaluated on what it is trained on"),
    ("stage:evaluate.limit", AMOUNT, "a larger or smaller sample of evaluations"),
    ("stage:evaluate_on.document_mask", ("other word",), "documents may see those before them, or not"),
    ("scale:*releases", ("other word",), "the user gives the released model instead of a stand-in"),
    (
        "scale:*context scale:*batch scale:*micro_batch scale:*min_piece scale:*tokens.* scale:*lr scale:*resolution "
        "scale:*vocab", (*AMOUNT, "removed"),
        "a scale's sizes are chosen; what must stay as at full size is compared (I-35)",
    ),
    (
        "scale:*epochs scale:*epochs.*", (*AMOUNT, "removed"),
        "declared repetitions; too few for the corpus are a finding",
    ),
    (
        "scale:*models.*", (*AMOUNT, "minus lost", "removed"),
        "a miniature's size is chosen; what a scale leaves out stays as published; mechanisms are compared (I-35)",
    ),
    ("published:*stand_in", ("sibling's name",), "another local corpus of the same kind"),
    ("mixtures:*corpus", ("sibling's name",), "another corpus of the same kind"),
    (
        "pipeline:*models.*", (*AMOUNT, "minus lost", "other word"),
        "another size or initialisation of a model that starts from scratch",
    ),
    (
        "pipeline:*optimizers.*", (*AMOUNT, "minus lost", "other word"),
        "another optimizer, inside the domain of each figure",
    ),
    (
        "pipeline:*optimizers.*.groups* pipeline:*optimizers.*.skip* pipeline:*optimizers.*.ema",
        ("removed", "sibling's name"),
        "parameters that are moved as all others, or others in their place; no skips, no average",
    ),
    ("stage:*z_loss", (*AMOUNT, "removed"), "a loss with another weight of log(Z)^2, or without"),
    (
        "stage:*preference.beta stage:*preference.nll", AMOUNT,
        "another weight of the reference, or of the chosen answer's likelihood, inside its domain",
    ),
    ("pipeline:*schedules.*", (*AMOUNT, "other word", "removed"), "another curve that the stages read to its end"),
    (
        "pipeline:claims pipeline:claims.* pipeline:parameters pipeline:parameters.*", ("removed",),
        "a published total or size less that is compared",
    ),
    ("scale:pipelines.*", ("removed",), "a pipeline that is not at this scale"),
    (
        "scale:pipelines scale:execution.memory", ("removed",),
        "what the scale says that it extends; without one to extend, a finding",
    ),
    ("hardware:rates", ("removed",), "a machine of which no rates are measured"),
    ("hardware:per_node", ("removed",), "a machine of which nothing is said of nodes"),
    ("pipeline:stages", ("removed",), "a variant's stages in the order of the pipeline that it extends"),
    ("stage:*batch.* stage:*resolutions.*", ("removed",), "a step fewer in a ramp that still begins at 0"),
    ("ouro_seed003/pipeline.yaml:drop*", ("removed",), "the box stays, which the extended pipeline trains anyway"),
    (
        "pipeline:*claims.*.lineage pipeline:*claims.*.tokens", ("sibling's name", "sibling's value"),
        "as true: the same stages, or the same total less exactly",
    ),
    (
        "stage:init.optimizer", ("other word",),
        "moments again where the rate warms up, or taken over where the module was trained",
    ),
    ("stage:init.data", ("other word", "removed"), "nothing above has read these corpora"),
    ("stage:*phases.*.data", ("sibling's name",), "another mixture that no stage above has read"),
    ("stage:init.from", ("sibling's name",), "the stage whose weights the named release is, handed on as they are"),
    ("stage:optimizer", ("sibling's name",), "other hyperparameters of the same kind of optimizer"),
    (
        "stage:*batch stage:*batch.* stage:*micro_batch stage:*epochs stage:*coca.* stage:*loops.* stage:*router.* "
        "stage:*multimodal.*", AMOUNT,
        "another choice inside the domain that the stages below can go on from",
    ),
    ("stage:*context stage:max_context", EXACT, "another length that the rotary positions cover"),
    ("stage:rope.*", EXACT, "other rotary positions, from which nothing goes back"),
    ("stage:rope.yarn*", ("removed", "other word"), "other rotary positions, from which nothing goes back"),
    ("pictures/towers.yaml:max_context", AMOUNT, "of towers, whose rows are as long as their phases say"),
    ("stage:phases.*.name", ("other word",), "what a phase is called: nothing else names it"),
    ("sparse/*.yaml:init.weights", ("other word", "removed"), "the last weights in place of their average"),
    ("dense/*.yaml:init.from.*", ("removed",), "an average of fewer models"),
    ("stage:init.shares.* stage:init.decay", AMOUNT, "other shares of the models that are averaged"),
    ("stage:variants.values.*", AMOUNT, "a sweep over other values"),
    ("stage:*packing", ("other word",), "whole documents in a row: nothing is cut"),
)  # fmt: skip

MISSED = _rules(
    "missed",
    (
        "scale:*models", ("removed",),
        "a scale at which the models stay as large as published, on a machine that they fit",
    ),
)  # fmt: skip

RULES = (*LATER, *MISSED, *LEGITIMATE)


def judge(where: str, place: str, slip: str) -> tuple[Verdict, str]:
    """(verdict, reason) of a silent slip; a missed one that no rule covers has an empty reason."""
    for rule in RULES:
        if rule.covers(where, place, slip):
            return rule.verdict, rule.reason
    return "missed", ""
