"""Puts one stage's spec, its parents and its scale together into a `resolved.Stage`."""

from __future__ import annotations

from collections.abc import Mapping

from stages.spec import engines, models
from stages.spec.execution import execution
from stages.spec.graph import parents
from stages.spec.hand_over import Node, clock_rule, data_rule, loops, optimizer_states
from stages.spec.inits import inits
from stages.spec.loader import LoadedStage
from stages.spec.merging import shares, weights_of
from stages.spec.model_keys import required_keys
from stages.spec.point_node import point_node
from stages.spec.points import RawPoint
from stages.spec.ranges import farthest
from stages.spec.resolved import Init, Stage
from stages.spec.resolved_models import LANGUAGE_MODELS, Model, Rope
from stages.spec.resolved_parallel import Engine, EngineClass
from stages.spec.schema.stages import RawImport, RawMerge, RawRope, RawTrain, RawUpcycle
from stages.spec.scope import Scope
from stages.spec.stage_evaluation import evaluation
from stages.spec.training import Training, moved, training, trains
from stages.spec.validate import added, hint


class Resolver:
    """Resolves the stages of one pipeline at one scale."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.pipeline, self.data = scope.pipeline, scope.data
        self.raw_scale, self.scale = scope.raw_scale, scope.scale
        self._models: dict[tuple[str, int | None], Model] = {}  # by name and vocabulary: stages share them

    def stage(self, name: str, done: Mapping[str, Node]) -> Node:
        """Resolves a stage whose parents are in `done` (by their names in this pipeline). Raises SpecError."""
        loaded = self.pipeline.stages[name]
        above = {parent: done[parent] for parent in parents(loaded)}
        if isinstance(loaded.raw, RawPoint):
            return point_node(self.pipeline, loaded, loaded.raw, done[loaded.raw.trunk], above, self.scale)
        tokenizer = self.tokenizer(loaded, above)
        modules = self.modules(loaded, above, self.vocabulary(tokenizer))
        trained = training(self.scope, loaded, above, modules, tokenizer)
        stage = self._stage(loaded, done, modules, trained, tokenizer)
        ref = f"{self.pipeline.name}/{name}"
        return Node(
            ref=ref,
            stage=stage,
            clock=trained.clock,
            reach=farthest(trained.reach, *(node.reach for node in above.values())),
            extent=trained.extent,
            state=optimizer_states(stage, above.values()),
            loops=loops(stage, above.values()),
            weights_of=weights_of(stage, above.values()) or ref,
            numbers=trained.numbers,
        )

    def _stage(
        self,
        loaded: LoadedStage,
        done: Mapping[str, Node],
        modules: dict[str, Model],
        training: Training,
        tokenizer: str,
    ) -> Stage:
        raw, above = loaded.raw, {parent: done[parent] for parent in parents(loaded)}
        rope = self.rope(loaded, modules, above)
        longest = self.longest(loaded, training, rope, above)
        trained = moved(loaded, modules, training)
        engine, engine_class = self.engine(loaded, [modules[module] for module in trained])
        return Stage(
            pipeline=self.pipeline.name,
            name=raw.stage,
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
            evaluation=evaluation(self.scope, loaded, modules, training.phases, done, longest, tokenizer),
            execution=execution(loaded, engine, self.raw_scale, self.scale),
            max_context=longest,
            waivers=tuple(waiver.resolved() for waiver in raw.waivers),
            merge=shares(loaded, raw, above) if isinstance(raw, RawMerge) else None,
        )

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

    def seed(self, loaded: LoadedStage) -> int:
        """The stage's own seed, or its stand-in's where that is what trains; without one the scale's."""
        training = trains(loaded, self.raw_scale)
        own = None if training is None else training[1].seed
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
            raise loaded.document.error(("rope",), found, "rope where a language model is", repair, "I-11")
        return self.scale.rope(raw.rope) if raw.rope is not None else None

    def longest(self, loaded: LoadedStage, training: Training, rope: Rope | None, above: Mapping[str, Node]) -> int:
        """The longest context in the lineage under the current rotary positions."""
        own = [phase.context for phase in training.phases]
        if isinstance(loaded.raw, RawImport) and not own:
            own = [self.scale.context(loaded.raw.max_context)]
        return max(own + [node.stage.max_context for node in above.values() if node.stage.rope == rope])

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
                    ("tokenizer",), f"the unknown tokenizer {name!r}", ", ".join(known) or "none", hint(name, known)
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
        found = inits(self.scope, loaded, modules, above)
        for module, init in found.items():
            if init.extend is None or init.parent is None:
                continue
            parent = next(node.stage for node in above.values() if node.ref == init.parent)
            rows = self.data.tokens(parent.tokenizer)
            if self.data.extended(tokenizer) != parent.tokenizer or rows is None:
                raise loaded.document.error(
                    ("init", "weights"), f"{module} extended for tokenizer {tokenizer!r}",
                    f"`tokenizer:` of this stage, one that extends {parent.name}'s {parent.tokenizer!r}",
                    "Say in specs/tokenizers which tokenizer it `extends`.", "I-41",
                )  # fmt: skip
            found[module] = init.model_copy(update={"rows": rows})
        return found
