"""Resolved phases: a raw phase at a scale, on its clock, with its stretches of the corpora."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from stages.spec.epochs import count
from stages.spec.loader import LoadedStage
from stages.spec.nodes import Document, Path
from stages.spec.numbers import Numbers, named
from stages.spec.quantities import BadQuantity
from stages.spec.ranges import Part, Reach, TooSmallError, allot
from stages.spec.resolved_models import Model, MoonViTModel
from stages.spec.resolved_phases import BatchStep, Coca, Loops, Phase, Preference, Resolution, Router, ShareRamp, Source
from stages.spec.resolved_training import Schedule
from stages.spec.scale_names import EVERY_STAGE
from stages.spec.schedule_layout import Span
from stages.spec.scheduled import Named
from stages.spec.schema.corpora import Kind
from stages.spec.schema.data import RawMixtureSource
from stages.spec.schema.phases import CountedPhase, RawCoca, RawLoops, RawPhase, RawPreference, RawRouter, RawShareRamp
from stages.spec.schema.stages import RawEvaluatedOn
from stages.spec.scope import Scope
from stages.spec.units import Epochs
from stages.spec.validate import unknown_name


class PhaseMaker:
    """Resolves the phases of one stage, one after the other, each reading where the one before stopped."""

    def __init__(
        self, scope: Scope, stage: LoadedStage, path: Path, models: Mapping[str, Model], tokenizer: str
    ) -> None:
        self.stage, self.path, self.models, self.tokenizer = stage, path, models, tokenizer
        self.data, self.raw_scale, self.scale = scope.data, scope.raw_scale, scope.scale

    def all(
        self, raw: Sequence[RawPhase], spans: Sequence[Span], reach: Reach, numbers: Numbers
    ) -> tuple[tuple[Phase, ...], Reach]:
        """The phases, and how far the lineage has read after them. `spans` are the phases' own."""
        resolved = []
        for index, (phase, span) in enumerate(zip(raw, spans, strict=True)):
            bare = self.bare(phase, span, (*self.path, index), numbers)
            sources, reach = self.sources(phase, bare, reach, (*self.path, index))
            resolved.append(bare.model_copy(update={"sources": sources}))
        return tuple(resolved), reach

    def counted(self, raw: Sequence[RawPhase]) -> list[RawPhase]:
        """The phases with budgets in epochs counted. Raises SpecError."""
        return [self._counted(phase, (*self.path, index)) for index, phase in enumerate(raw)]

    def _counted(self, phase: RawPhase, path: Path) -> RawPhase:
        if not isinstance(phase.budget, Epochs):
            return phase
        parts = self.parts(phase, path)
        local = {part.corpus: self.data.corpora.get(part.corpus) for part in parts}
        try:
            return count(phase, phase.budget, parts, local, self.scale)
        except BadQuantity as error:
            raise self.stage.document.error((*path, *error.at), error.found, error.allowed, error.repair) from None

    def bare(self, phase: RawPhase, span: Span, path: Path, numbers: Numbers) -> Phase:
        """The phase except for its sources."""
        weights = Weights(self.stage.document, path, numbers)
        budget = span.here[1] - span.here[0]
        fixed = isinstance(phase, CountedPhase)
        context = self.scale.context(phase.context)
        self._check_ramp(phase, path)
        return Phase(
            name=phase.name,
            objective=phase.objective,
            unit=phase.unit,
            budget=budget,
            clock_start=span.here[0],
            context=context,
            batch=self.batch(phase, path),
            micro_batch=self.scale.micro_batch(phase.micro_batch, phase.context),
            epochs=phase.epochs if fixed else self.epochs(phase),
            document_mask=phase.document_mask,
            packing="fixed" if fixed else phase.packing,
            sources=(),
            share=self.share(phase, -(-budget // context), path),
            loops=weights.loops(phase.loops) if phase.loops else None,
            router=weights.router(phase.router) if phase.router else None,
            coca=self.coca(phase.coca, budget, weights) if phase.coca else None,
            preference=None if phase.preference is None else _preference(phase.preference),
            z_loss=None if phase.z_loss is None else weights.of("", "z_loss", phase.z_loss),
        )

    def _check_ramp(self, phase: RawPhase, path: Path) -> None:
        """Raise SpecError unless the batch ramp begins at 0, rises in `after` and changes the batch in every step."""
        error = self.stage.document.error
        if phase.batch[0].after != 0 or any(one.after >= later.after for one, later in pairwise(phase.batch)):
            found = "a ramp that does not begin at 0 or does not rise"
            raise error((*path, "batch"), found, "rising `after` from 0", "Sort it.", "I-07")
        for number, (before, step) in enumerate(pairwise(phase.batch), start=1):
            if before.batch == step.batch:
                found, repair = f"{step.batch} seq, as before it", "Correct one of the two, or remove the step."
                raise error((*path, "batch", number, "batch"), found, "another batch", repair, "I-07")

    def batch(self, phase: RawPhase, path: Path) -> tuple[BatchStep, ...]:
        """The batch ramp; steps that a small scale makes equal are one."""
        steps: list[BatchStep] = []
        for raw in phase.batch:
            if raw.after >= phase.size:
                raise self.stage.document.error(
                    (*path, "batch"), f"a step after {raw.after}", f"less than {phase.size}", "Correct `after`.", "I-07"
                )
            after, sequences = self.scale.batch(phase, raw)
            if not steps or steps[-1].sequences != sequences:
                steps.append(BatchStep(after=after, sequences=sequences))
        return tuple(steps)

    def epochs(self, phase: RawPhase) -> int:
        """Passes over the phase's data: the spec's, or what the scale declares for this stage."""
        declared = self.scale.shrink.epochs if self.scale.shrink else {}
        return declared.get(self.stage.raw.stage, declared.get(EVERY_STAGE, phase.epochs))

    def share(self, phase: RawPhase, samples: int, path: Path) -> ShareRamp | None:
        """The multimodal share, required exactly where the mixture has both groups."""
        groups = {source.group for source in self.mixture(phase, path)}
        ramp: RawShareRamp | None = phase.multimodal
        if (ramp is not None) != (len(groups) == 2):
            found = "nothing" if ramp is None else f"a share, while {phase.data!r} has one group"
            allowed, repair = "a share where a mixture has both groups", "Add or remove `multimodal`."
            raise self.stage.document.error((*path, "multimodal"), found, allowed, repair, "I-30")
        if ramp is None:
            return None
        over = int(ramp.over * samples)
        return ShareRamp(first=ramp.from_.as_integer_ratio(), last=ramp.to.as_integer_ratio(), over=over)

    def coca(self, raw: RawCoca, budget: int, weights: Weights) -> Coca:
        """The CoCa objective with its resolution caps."""
        caps = tuple(Resolution(after=int(one.after * budget), cap=self.scale.cap(one.cap)) for one in raw.resolutions)
        return Coca(caption_weight=weights.of("coca", "caption_weight", raw.caption_weight), resolutions=caps)

    def sources(self, phase: RawPhase, bare: Phase, reach: Reach, path: Path) -> tuple[tuple[Source, ...], Reach]:
        """The phase's stretches of the corpora."""
        patch = next((model.patch for model in self.models.values() if isinstance(model, MoonViTModel)), None)
        parts = self.parts(phase, path)
        try:
            try:
                return allot(bare, parts, reach, patch)
            except TooSmallError:
                if not self.raw_scale.has_corpora:
                    raise
                # Planned all the same: which bound corpus is too small, and by how much, is a finding (I-18).
                return allot(bare, [replace(part, figures=None) for part in parts], reach, patch)
        except BadQuantity as error:
            repair = error.repair + (self._floor(phase, bare) if isinstance(error, TooSmallError) else "")
            invariant = "I-18" if isinstance(error, TooSmallError) else ""
            raise self.stage.document.error((*path, "data"), error.found, error.allowed, repair, invariant) from None

    def _floor(self, phase: RawPhase, bare: Phase) -> str:
        """Where a budget is the least that a scale allows: what that least follows from."""
        step, shrink = self.scale.largest_step(phase), self.scale.shrink
        if shrink is None or bare.budget > shrink.tokens.floor * step:
            return ""
        where = self.scale.document.where(("pipelines", self.scale.pipeline, "tokens"))
        return (
            f" At this scale it is the least that {where} allows: `floor`, "
            f"{shrink.tokens.floor} steps, each of {step:,} {phase.unit} by the `batch` beside it."
        )

    def parts(self, phase: RawPhase | RawEvaluatedOn, path: Path) -> list[Part]:
        """The mixture's corpora, with what is read in their place; equal ones are added up."""
        published, bound = self.raw_scale.has_corpora, set(self.data.bind.values())
        shares: dict[tuple[str, str], Fraction] = {}
        for source in self.mixture(phase, path):
            at = self.data.read_as(source.corpus, published), source.group
            if not published and at[0] in self.data.published.corpora:
                raise self.data.published_document.error(
                    ("corpora", at[0]), "no `stand_in`", f"one at scale {self.raw_scale.scale} (`corpora: stand_in`)",
                    "Add `stand_in: ...`, a local corpus.",
                )  # fmt: skip
            shares[at] = shares[at] + source.share if at in shares else source.share
        parts = []
        for (name, group), share in shares.items():
            local, side = self.data.corpora.get(name), "multimodal" if group == "multimodal" else "text"
            digest, kind = (local.digest, local.kind) if local else ("", self.data.published.corpora[name].kind)
            counted = not published or name in bound or self._same_tokens(name)
            figures = local if counted else None
            parts.append(Part(name, kind, side, share, digest, figures))  # type: ignore[arg-type]
        return parts

    def _same_tokens(self, name: str) -> bool:
        """Whether a local corpus is counted in the tokens of the stage's own, declared tokenizer."""
        one = self.data.corpora.get(name)
        return one is not None and one.tokenizer is not None and self.data.tokenizer_of(name) == self.tokenizer

    def kinds(self, raw: Sequence[RawPhase]) -> list[dict[str, Kind]]:
        """The kinds of the corpora of each phase's mixture, by the names that the mixture uses."""
        mixtures = (self.mixture(phase, (*self.path, index)) for index, phase in enumerate(raw))
        return [{source.corpus: self.data.kinds[source.corpus] for source in sources} for sources in mixtures]

    def mixture(self, phase: RawPhase | RawEvaluatedOn, path: Path) -> Sequence[RawMixtureSource]:
        """The raw sources of the phase's mixture."""
        mixtures = self.data.mixtures.mixtures
        if phase.data not in mixtures:
            raise unknown_name(self.stage.document, (*path, "data"), "mixture", phase.data, mixtures)
        return mixtures[phase.data].sources


def _preference(raw: RawPreference) -> Preference:
    return Preference(**{**dict(raw), "beta": float(raw.beta), "nll": float(raw.nll)})


@dataclass(frozen=True)
class Weights:
    """Of the phase at `path` of a stage's spec."""

    document: Document
    path: Path
    numbers: Numbers

    def of(self, block: str, key: str, written: Fraction | Named) -> float | Schedule:
        """A number of a block of the phase, or of the phase itself, up to the phase's end. Raises SpecError."""
        name, phases = named(block, key), int(self.path[-1]) + 1
        return self.numbers.number(name, written, self.document, (*self.path, *name.split(".")), phases)

    def loops(self, raw: RawLoops) -> Loops:
        """Loops and the weight of the entropy."""
        return Loops(count=raw.count, beta=self.of("loops", "beta", raw.beta))

    def router(self, raw: RawRouter) -> Router:
        """MoE balancing."""
        rate, loss = (self.of("router", key, getattr(raw, key)) for key in ("bias_update", "aux_loss"))
        return Router(bias_update=rate, aux_loss=loss)
