"""The phases of an adopted run, and the mixtures and corpora that they read.

A run is one phase, or one for each of its data stages: a mixture that is read from a step on.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from stages.audit.adopt.page import Page, Specs, entries, grouped, name_of, quoted, source, unknown
from stages.audit.adopt.parts import BATCH, CONTEXT, begin, end, equal, shares, step_tokens, steps
from stages.audit.adopt.samples import SIZES
from stages.audit.family import Family, has_router_bias
from stages.audit.figures import batches_differ
from stages.audit.recipe import Stage
from stages.spec.families import FAMILIES

MOST_SETS = 100  # in a mixture: of more, one stands for all


@dataclass(frozen=True)
class Part:
    """A piece of a run that reads one mixture. `suffix` is that of its figures: data, data_2, ..."""

    name: str
    suffix: str
    steps: int


@dataclass
class Phases:
    """What phases need of the whole: names that are taken, and corpora by path and kind."""

    name: str
    names: Mapping[str, str]
    stand_ins: Mapping[str, str]
    out: Specs
    mixtures: list[str] = field(default_factory=list)
    corpora: dict[tuple[str, str], str] = field(default_factory=dict)
    reads: dict[str, set[str]] = field(default_factory=dict)  # corpora by stage

    def lines(self, stage: Stage, page: Page, model: Family) -> tuple[list[str], list[str]]:
        """The lines of a run's phases and of the waivers that they need."""
        self.reads[stage.name] = set()
        phases, waivers = list[str](), list[str]()
        for part in parts(stage):
            phases += self.phase(stage, part, page, model)
            if stage.get("objective") != "sft" and not stage.on("document_mask"):
                reason = quoted(f"as {stage.name} has it: nothing in it asks for a mask")
                at = f"phases.{part.name}.document_mask"
                waivers.append(f"  - {{id: I-19, at: {at}, found: false, reason: {reason}}}")
        return phases, waivers

    def phase(self, stage: Stage, part: Part, page: Page, model: Family) -> list[str]:
        """One phase, and the sources of its figures."""
        context, batch = stage.count("context"), stage.count("batch")
        here = f"phases.{part.name}"
        page.cover(f"{here}.context", source(stage, "context"))
        grows = batches_differ(stage)
        page.cover(f"{here}.batch", unknown(f"{stage.name} grows its batch") if grows else source(stage, figure(stage)))
        if end(stage) is None or context is None or batch is None or grows:
            budget = unknown(f"{stage.name} does not say how long, from where, or in what batches")
        else:
            budget = source(stage, *(one for one in ("steps", "batch", "context", f"data_from{part.suffix}")
                                   if one in stage.values))  # fmt: skip
        page.cover(f"{here}.budget", budget)
        page.cover(f"{here}.micro_batch", ("assumed", "reason", "one sequence fits every device"))
        page.cover(f"{here}.epochs", ("assumed", "reason", "nothing that was read says that data is repeated"))
        tuned = stage.get("objective") == "sft"
        return [
            f"  - name: {part.name}", f"    objective: {'sft' if tuned else 'next_token'}",
            "    unit: tokens", f"    budget: {grouped(part.steps * step_tokens(stage))}",
            f"    context: {grouped(context or CONTEXT)}", *batches(stage),
            "    micro_batch: 1 seq", "    epochs: 1",
            f"    document_mask: {str(tuned or stage.on('document_mask')).lower()}",
            f"    packing: {'whole' if tuned else 'concatenate'}",
            f"    data: {self.data(stage, part, 'sft' if tuned else 'text')}", *router(stage, page, here, model),
        ]  # fmt: skip

    def data(self, stage: Stage, part: Part, kind: str) -> str:
        """The name of a phase's mixture, which is written with its corpora."""
        words = f"{self.name}_{self.names[stage.name]}" + ("" if part.name == "main" else f"_{part.name}")
        mixture = name_of(words, self.mixtures, "data")
        self.mixtures.append(mixture)
        figure, weights = f"data{part.suffix}", f"data_weights{part.suffix}"
        found, paths = shares(stage, figure, weights), stage.get(figure)
        mark = None if found is None else source(stage, weights if len(found) > 1 else figure)
        if found is None and isinstance(paths, tuple) and 1 < len(paths) <= MOST_SETS:
            found = equal(paths)  # by the sizes of the sets, mostly, which are not stated
        silent = f"{stage.name} does not say it"
        self.out.mixtures += [f"  {mixture}:", "    sources:"]
        for path, share in _once(found or [("data", Fraction(1))]):
            corpus = self.corpus(path, kind, silent if found is None else str(stage.at(figure)))
            self.reads[stage.name].add(corpus)
            percent = f"{float(share * 100):.4f}".rstrip("0").rstrip(".")
            self.out.mixtures.append(f"      - {{corpus: {corpus}, share: {percent}%, group: text}}")
        self.out.mixture_sources += entries({f"mixtures.{mixture}": mark or unknown(silent)})
        return mixture

    def corpus(self, path: str, kind: str, place: str) -> str:
        """The name of a corpus, written once; of one path there are two where one of them has answers."""
        if (path, kind) not in self.corpora:
            words = f"{self.name}_{path.rstrip('/').rsplit('/', 1)[-1]}"
            found = self.corpora[path, kind] = name_of(words, self.corpora.values(), f"{self.name}_corpus")
            cited = quoted(f"{path}, {place}")
            self.out.corpora.append(f"  {found}: {{kind: {kind}, citation: {cited}, stand_in: {self.stand_ins[kind]}}}")
        return self.corpora[path, kind]


def figure(stage: Stage) -> str:
    """The figure that says the batch."""
    return SIZES if SIZES in stage.values else "batch"


def batches(stage: Stage) -> list[str]:
    """The batch in sequences; of one that grows, every size with the tokens after which it begins."""
    sizes = stage.get(SIZES)
    if not isinstance(sizes, tuple):
        return [f"    batch: {grouped(stage.count('batch') or BATCH)} seq"]
    pairs = zip(map(int, sizes[::2]), map(int, sizes[1::2]), strict=True)
    tokens = stage.count("context") or CONTEXT
    return ["    batch:", *(f"      - {{after: {grouped(one * tokens)}, batch: {size} seq}}" for one, size in pairs)]


def _once(shares: list[tuple[str, Fraction]]) -> list[tuple[str, Fraction]]:
    """Every set once: one that a recipe lists again has the sum of its shares."""
    found: dict[str, Fraction] = {}
    for path, share in shares:
        found[path] = found.get(path, Fraction(0)) + share
    return list(found.items())


def parts(stage: Stage) -> list[Part]:
    """The pieces of a run: one for each mixture that it reads, in order; one where a border is unknown."""
    whole, first = steps(stage), begin(stage)
    names = [name for name in stage.values if name == "data_from" or name.startswith("data_from_")]
    borders = sorted((stage.count(name) or 0, name.removeprefix("data_from")) for name in names)
    if len(borders) < 2 or end(stage) is None or borders[0][0] < 1 or len(dict(borders)) < len(borders):
        return [Part("main", "", whole)]
    found = list[Part]()
    for (start, suffix), (following, _) in itertools.pairwise([*borders, (first + whole + 1, "")]):
        inside = min(following - 1, first + whole) - max(start - 1, first)
        if inside > 0:
            found.append(Part("main" if not found else f"part_{len(found) + 1}", suffix, inside))
    return found if sum(one.steps for one in found) == whole else [Part("main", "", whole)]


def router(stage: Stage, page: Page, here: str, model: Family) -> list[str]:
    """How experts are balanced, of a model that has them. A bias that is not stated is none."""
    if not FAMILIES[model.name].ROUTED:
        return []
    loss, bias = stage.number("aux_loss"), stage.number("router_bias")
    scored = has_router_bias(model.name)
    page.cover(f"{here}.router.aux_loss", source(stage, "aux_loss"))
    stated = bias is not None and scored
    silent = ("assumed", "reason", "nothing that was read says that a bias balances the experts")
    page.cover(f"{here}.router.bias_update", source(stage, "router_bias") if stated else silent)
    update = bias if bias is not None and scored else 0
    return [f"    router: {{bias_update: {update:g}, aux_loss: {0.001 if loss is None else loss:g}}}"]
