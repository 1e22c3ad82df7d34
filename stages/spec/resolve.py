"""Puts one stage's spec, its parents and its scale together into a `resolved.Stage`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stages.spec import engines, models, optimizer_state
from stages.spec.clocks import Clock, Extent, advance, schedule
from stages.spec.evaluated_on import KEY, evaluated_on
from stages.spec.evaluations import unable
from stages.spec.execution import execution
from stages.spec.graph import parents
from stages.spec.hand_over import (
    Node,
    clock_before,
    clock_rule,
    data_rule,
    numbers_before,
    rate_before,
    reach_before,
)
from stages.spec.inits import inits
from stages.spec.loader import LoadedPipeline, LoadedStage
from stages.spec.loader_data import LoadedData
from stages.spec.looped import loops
from stages.spec.merging import shares, weights_of
from stages.spec.nodes import Path
from stages.spec.numbers import Numbers
from stages.spec.objectives import Placed, unfit
from stages.spec.phases import PhaseMaker
from stages.spec.point_node import point_node
from stages.spec.points import RawPoint
from stages.spec.ranges import Reach, farthest
from stages.spec.resolved import Evaluation, Init, LmEval, Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Model, Rope
from stages.spec.resolved_parallel import Engine, EngineClass
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Optimizer, Schedule
from stages.spec.scales import Scale
from stages.spec.schema import RawEvaluate, RawImport, RawMerge, RawRope, RawStandIn, RawTrain, RawUpcycle
from stages.spec.schema_data import RawScale
from stages.spec.schema_phases import RawPhase
from stages.spec.validate import added, meant, required_keys, several


@dataclass(frozen=True)
class Training:
    """What a stage trains, where it does."""

    phases: tuple[Phase, ...] = ()
    schedule: Schedule | None = None
    optimizer: Optimizer | None = None
    extent: Extent | None = None  # how far the named schedule is read
    numbers: Mapping[tuple[str, str], Extent] = field(default_factory=dict)  # the same of other numbers


class Resolver:
    """One pipeline at one scale."""

    def __init__(self, pipeline: LoadedPipeline, data: LoadedData, raw_scale: RawScale, scale: Scale) -> None:
        self.pipeline, self.data, self.raw_scale, self.scale = pipeline, data, raw_scale, scale
        self._models: dict[tuple[str, int | None], Model] = {}  # by name and vocabulary: stages share them

    def stage(self, name: str, done: Mapping[str, Node]) -> Node:
        """Resolves a stage whose parents are in `done` (by their names in this pipeline). Raises SpecError."""
        loaded = self.pipeline.stages[name]
        above = {parent: done[parent] for parent in parents(loaded)}
        if isinstance(loaded.raw, RawPoint):
            return point_node(self.pipeline, loaded, loaded.raw, done[loaded.raw.trunk], above, self.scale)
        tokenizer = self.tokenizer(loaded, above)
        modules = self.modules(loaded, above, self.vocabulary(tokenizer))
        before = clock_before(self.pipeline, loaded, above)
        reach = reach_before(loaded, above)
        training, clock, after = self.training(loaded, above, modules, before, reach, tokenizer)
        rope = self.rope(loaded, modules, above)
        everyone = farthest(after, *(node.reach for node in above.values()))
        raw = loaded.raw
        longest = self.longest(loaded, training, rope, above)
        trained = self.trained(loaded, modules, training)
        engine, engine_class = self.engine(loaded, [modules[module] for module in trained])
        stage = Stage(
            pipeline=self.pipeline.name,
            name=name,
            box=raw.box,
            scale=self.raw_scale.scale,
            kind=raw.kind,  # type: ignore[attr-defined]
            engine_class=engine_class,
            seed=self.seed(loaded),
            parents=tuple(sorted(node.ref for node in above.values())),
            modules=modules,
            init=self.inits(loaded, modules, above, tokenizer),
            trained=trained,
            clock=clock_rule(loaded),
            data=data_rule(loaded),
            tokenizer=tokenizer,
            rope=rope,
            optimizer=training.optimizer,
            schedule=training.schedule,
            phases=training.phases,
            evaluation=self.evaluation(loaded, modules, training, done, longest, tokenizer),
            execution=execution(loaded, engine, self.raw_scale, self.scale),
            max_context=longest,
            waivers=tuple(waiver.resolved() for waiver in raw.waivers),
            merge=shares(loaded, raw, above) if isinstance(raw, RawMerge) else None,
        )
        ref = f"{self.pipeline.name}/{name}"
        return Node(
            ref=ref,
            stage=stage,
            clock=clock,
            reach=everyone,
            extent=training.extent,
            state=optimizer_state.kept(stage, above.values()),
            loops=loops(stage, above.values()),
            weights_of=weights_of(stage, above.values()) or ref,
            numbers=training.numbers,
        )

    # ------------------------------------------------------------ modules

    def modules(self, loaded: LoadedStage, above: Mapping[str, Node], vocabulary: int | None) -> dict[str, Model]:
        """Models by module; keep and export have their parent's."""
        raw = loaded.raw
        if isinstance(raw, (RawTrain, RawImport, RawUpcycle)):
            return {module: self.model(loaded, module, name, vocabulary) for module, name in raw.modules.items()}
        return next(iter(above.values())).stage.modules

    def model(self, loaded: LoadedStage, module: str, name: str, vocabulary: int | None) -> Model:
        """The model of that name, made once. Raises SpecError."""
        if (name, vocabulary) not in self._models:
            made = models.model(self.pipeline, loaded, module, name, vocabulary, self.scale)
            self._models[name, vocabulary] = made
        return self._models[name, vocabulary]

    def trained(self, loaded: LoadedStage, modules: Mapping[str, Model], training: Training) -> tuple[str, ...]:
        """Modules that move, in order; every module of a train stage is in exactly one of train and frozen."""
        raw = loaded.raw
        if not isinstance(raw, RawTrain):
            return tuple(modules) if training.phases else ()
        for key, named in (("train", raw.train), ("frozen", raw.frozen)):
            for module in named:
                if module not in modules:
                    raise loaded.document.error(
                        (key,), f"the unknown module {module!r}", ", ".join(modules), "Correct the name."
                    )
        for module in modules:
            if (module in raw.train) == (module in raw.frozen):
                found = "both train and frozen" if module in raw.train else "neither train nor frozen"
                raise loaded.document.error(
                    ("modules", module),
                    f"a module in {found}",
                    "each module in exactly one of `train` and `frozen`",
                    "Say whether it moves.",
                )
        return tuple(module for module in modules if module in raw.train)

    # ------------------------------------------------------------ training

    def training(
        self,
        loaded: LoadedStage,
        above: Mapping[str, Node],
        modules: Mapping[str, Model],
        before: Clock,
        reach: Reach,
        tokenizer: str,
    ) -> tuple[Training, Clock, Reach]:
        """Phases, schedule and optimizer, and the clock and the reach after them."""
        raw = loaded.raw
        plan: tuple[Path, str, str, list[RawPhase]] | None = None
        if isinstance(raw, RawTrain):
            plan = ((), raw.schedule, raw.optimizer, raw.phases)
        elif isinstance(raw, RawImport) and not self.raw_scale.has_releases:
            if raw.stand_in is None:
                raise loaded.document.error(
                    ("release",), "no `stand_in`", f"one at scale {self.raw_scale.scale}", "Add `stand_in: ...`."
                )
            plan = (("stand_in",), raw.stand_in.schedule, raw.stand_in.optimizer, raw.stand_in.phases)
        if plan is None:
            return Training(), before, reach
        at, schedule_name, optimizer_name, phases = plan
        self.phases_apart(loaded, at, phases)
        maker = PhaseMaker(loaded, (*at, "phases"), self.data, self.raw_scale, self.scale, modules, tokenizer)
        trained = [name for name in modules if not isinstance(raw, RawTrain) or name in raw.train]
        wrong = list(unfit(Placed(loaded.document, maker.path, modules, trained), phases, maker.kinds(phases)))
        if wrong:
            raise several(wrong)
        phases = maker.counted(phases)
        spans = advance(before, phases, self.scale)
        met = before.entered if before.spans else rate_before(loaded, above)
        named = (*at, "schedule")
        lr, clock, extent = schedule(self.pipeline, loaded, named, schedule_name, before, spans, met, self.scale)
        if isinstance(raw, RawImport):
            clock = Clock(None, (), None)  # nothing continues a stand-in's schedule
        numbers = Numbers(self.pipeline, loaded, before, spans, numbers_before(loaded, above, before), self.scale)
        resolved, after = maker.all(phases, spans[len(before.spans) :], reach, numbers)
        optimizer = models.optimizer(self.pipeline, loaded, (*at, "optimizer"), optimizer_name, numbers)
        if isinstance(raw, RawTrain):
            clock = replace(clock, numbers=numbers.reached)
        return Training(resolved, lr, optimizer, extent, numbers.extents), clock, after

    def phases_apart(self, loaded: LoadedStage, at: Path, phases: list[RawPhase]) -> None:
        """A clock counts in one unit, and phases go by their names: in sources, waivers, metrics."""
        names: list[str] = []
        for index, phase in enumerate(phases):
            if phase.name in names:
                path = (*at, "phases", index, "name")
                raise loaded.document.error(path, f"{phase.name!r} a second time", "each name once", "Rename a phase.")
            names.append(phase.name)
            if phase.unit != phases[0].unit:
                raise loaded.document.error(
                    (*at, "phases", index, "unit"), phase.unit, phases[0].unit, "A clock counts in one unit."
                )

    # ------------------------------------------------------------ the rest

    def seed(self, loaded: LoadedStage) -> int:
        """The stage's own seed, or its stand-in's where that is what trains; without one the scale's."""
        raw = loaded.raw
        trained = raw.stand_in if isinstance(raw, RawImport) and not self.raw_scale.has_releases else raw
        own = trained.seed if isinstance(trained, (RawTrain, RawStandIn)) else None
        return self.raw_scale.seed if own is None else own

    def rope(self, loaded: LoadedStage, modules: Mapping[str, Model], above: Mapping[str, Node]) -> Rope | None:
        """Rotary positions: stated where a language model trains or comes in, else the parent's."""
        raw = loaded.raw
        if not isinstance(raw, (RawTrain, RawImport)):
            return next(iter(above.values())).stage.rope
        needed = any(model.family in LANGUAGE_MODELS for model in modules.values())
        if needed != (raw.rope is not None):
            found = "nothing" if needed else "rotary positions without a language model"
            repair = added("rope", required_keys(RawRope)) if needed else "Remove `rope`."
            raise loaded.document.error(("rope",), found, "rope where a language model is", repair)
        return self.scale.rope(raw.rope) if raw.rope is not None else None

    def longest(self, loaded: LoadedStage, training: Training, rope: Rope | None, above: Mapping[str, Node]) -> int:
        """The longest context in the lineage under the current rotary positions."""
        own = [phase.context for phase in training.phases]
        if isinstance(loaded.raw, RawImport) and not own:
            own = [self.scale.context(loaded.raw.max_context)]
        return max(own + [node.stage.max_context for node in above.values() if node.stage.rope == rope])

    def evaluation(
        self,
        loaded: LoadedStage,
        modules: Mapping[str, Model],
        training: Training,
        done: Mapping[str, Node],
        longest: int,
        tokenizer: str,
    ) -> Evaluation:
        """What is evaluated, on windows of which length. Raises SpecError(s) for what the stage cannot evaluate."""
        above = {parent: done[parent] for parent in parents(loaded)}
        maker = PhaseMaker(loaded, (KEY,), self.data, self.raw_scale, self.scale, modules, tokenizer)
        named = evaluated_on(loaded, modules, maker, self.scale)  # at every scale: a mistake is one everywhere
        on = None if training.phases else named
        own = training.phases or (() if on is None else (on,))
        read = own or self.read_above(loaded, done)
        wrong = list(unable(loaded, modules, read, self.data))
        if wrong:
            raise several(wrong)
        context = max((phase.context for phase in own), default=longest)
        context = min(context, self.raw_scale.evaluation.context or context)
        known = [node.stage.max_context for node in above.values() if node.stage.rope is not None]
        old = max(known, default=None)
        extends = old if old is not None and old < context else None
        return Evaluation(
            names=tuple(loaded.raw.evaluate.heldout),
            context=context,
            old_context=extends,
            samples=self.raw_scale.evaluation.samples,
            on=on,
            lm_eval=_lm_eval(loaded.raw.evaluate),
        )

    def read_above(self, loaded: LoadedStage, done: Mapping[str, Node]) -> tuple[Phase, ...]:
        """The phases on whose corpora a stage without training is evaluated: of the first ancestor that has some.

        Of a merge, which has several parents, that is looked for above the first of them.
        """
        names = parents(loaded)
        while names and not done[names[0]].stage.evaluated_on:
            names = parents(self.pipeline.stages[names[0]])
        return done[names[0]].stage.evaluated_on if names else ()

    def engine(self, loaded: LoadedStage, trained: list[Model]) -> tuple[Engine, EngineClass]:
        """The engine that runs the stage, and what it computes in."""
        raw, shrink = loaded.raw, self.scale.shrink
        kind, phases = (raw.kind, raw.phases) if isinstance(raw, RawTrain) else ("", [])
        return engines.chosen(self.raw_scale, shrink.torch if shrink else (), raw.stage, kind, trained, phases)

    def tokenizer(self, loaded: LoadedStage, above: Mapping[str, Node]) -> str:
        """A declared tokenizer's digest, the local one's, or the name of a published one that is not declared.

        A stage has its own where it names one; one that extends another is handed down; else it is the pipeline's.
        """
        if isinstance(loaded.raw, RawTrain) and loaded.raw.tokenizer is not None:
            if loaded.raw.tokenizer not in self.data.tokenizers:
                known, name = self.data.tokenizers, loaded.raw.tokenizer
                raise loaded.document.error(
                    ("tokenizer",), f"the unknown tokenizer {name!r}", ", ".join(known) or "none", meant(name, known)
                )
            return self.data.tokenizers[loaded.raw.tokenizer].digest
        handed = (node.stage.tokenizer for node in above.values())
        extended = next((one for one in handed if self.data.extended(one) is not None), None)
        if extended is not None:
            return extended
        declared = self.data.named(self.pipeline.raw.tokenizer, self.raw_scale.has_corpora)
        if declared is not None:
            return declared.digest
        return self.data.local if not self.raw_scale.has_corpora else self.pipeline.raw.tokenizer

    def vocabulary(self, tokenizer: str) -> int | None:
        """The scale's vocabulary, which is for the local tokenizer; None: models have their own."""
        declared = {one.digest for one in self.data.tokenizers.values()}
        return None if tokenizer in declared else self.raw_scale.vocab

    def inits(
        self, loaded: LoadedStage, modules: Mapping[str, Model], above: Mapping[str, Node], tokenizer: str
    ) -> dict[str, Init]:
        """One per module. Raises SpecError for one that takes on other tokens than its parent's and no more."""
        made = inits(loaded, modules, above, self.raw_scale, self.data.releases, self.scale.shrink is None)
        for module, init in made.items():
            if init.extend is None or init.parent is None:
                continue
            parent = next(node.stage for node in above.values() if node.ref == init.parent)
            rows = self.data.tokens(parent.tokenizer)
            if self.data.extended(tokenizer) != parent.tokenizer or rows is None:
                raise loaded.document.error(
                    ("init", "weights"), f"{module} extended for tokenizer {tokenizer!r}",
                    f"`tokenizer:` of this stage, one that extends {parent.name}'s {parent.tokenizer!r}",
                    "Say in specs/tokenizers which tokenizer it `extends`.",
                )  # fmt: skip
            made[module] = init.model_copy(update={"rows": rows})
        return made


def _lm_eval(raw: RawEvaluate) -> LmEval | None:
    if not raw.lm_eval:
        return None
    return LmEval(tasks=tuple(raw.lm_eval), limit=raw.limit, folder=raw.lm_eval_tasks)
