"""The spec files of an adopted recipe: pipeline.yaml, a file for each run, a scale at full size, mixtures, corpora."""

from __future__ import annotations

from collections.abc import Mapping

from stages.audit.adopt.page import Page, Specs, grouped, name_of, names, quoted, source, unknown
from stages.audit.adopt.parts import STEPS, Parts, begin, final_rate, pieces, shares_clock, with_sizes
from stages.audit.adopt.phases import Phases
from stages.audit.adopt.samples import in_samples
from stages.audit.family import Family
from stages.audit.figures import last_step
from stages.audit.loads import on_load
from stages.audit.recipe import Pipeline, Stage
from stages.audit.rules.model import rope
from stages.printable import printable
from stages.spec.families import FAMILIES

BASE = 500_000  # of rotary positions, where it is unknown


def specs(pipeline: Pipeline, name: str, place: str, stand_ins: Mapping[str, str]) -> Specs:
    """The specs of a pipeline called `name`, read at `place`; `stand_ins` are local corpora by kind: text, sft."""
    return _Writer(in_samples(pipeline), name, place, stand_ins).all()


class _Writer:
    def __init__(self, pipeline: Pipeline, name: str, place: str, stand_ins: Mapping[str, str]) -> None:
        self.pipeline, self.name, self.place = pipeline, name, place
        self.page, self.out, self.names = Page(), Specs(), names(pipeline)
        self.parts = Parts(self.page)
        self.phases = Phases(name, self.names, stand_ins, self.out)
        self.models: dict[str, str] = {}
        self.schedules: dict[str, str] = {}
        self.releases: dict[str, str] = {}

    def all(self) -> Specs:
        models, optimizers, schedules = list[str](), list[str](), list[str]()
        for stage in self.pipeline.stages:
            edge = self.pipeline.parent(stage)
            if edge is None:
                self.models[stage.name], lines = self.parts.model(with_sizes(stage, self.pipeline))
                models += lines
            else:
                self.models[stage.name] = self.models[edge.parent.name]
            optimizer, more = self.parts.optimizer(stage)
            optimizers += more
            schedules += self.schedule(stage)
            self.out.files[f"{self.name}/{self.names[stage.name]}.yaml"] = self.stage(stage, optimizer)
        title = quoted(f"{self.name}, adopted from {self.place}")
        self.page.lines[:0] = [
            "# Written by `stages adopt`. Figures with `mark: unknown` are placeholders, which `stages check` lists.",
            f"pipeline: {self.name}", f"title: {title}", f"citation: {quoted(self.place)}", "figure: none",
            f"tokenizer: adopted/{self.name}  # name one of specs/tokenizers",
            "models:", *models, "optimizers:", *optimizers, "schedules:", *schedules,
            f"stages: [{', '.join(self.names[one.name] for one in self.pipeline.stages)}]",
        ]  # fmt: skip
        self.out.files[f"{self.name}/pipeline.yaml"] = self.page.text()
        self.out.files[f"scales/{self.name}.yaml"] = self.scale()
        self.out.notes = [f"{name} is written as family {one.name}: {printable(one.because)}"
                          for name, one in self.parts.families.items() if one.open]  # fmt: skip
        return self.out

    def schedule(self, stage: Stage) -> list[str]:
        """The lines of a stage's schedule, if it does not go on along its parent's."""
        edge = self.pipeline.parent(stage)
        if edge is not None and shares_clock(edge):
            self.schedules[stage.name] = self.schedules[edge.parent.name]
            return []
        name = self.schedules[stage.name] = self.names[stage.name]
        lineage = [stage]
        while heirs := [one.child for one in self.pipeline.children(lineage[-1]) if shares_clock(one)]:
            lineage.append(heirs[0])
        rate = None if edge is None else final_rate(edge.parent)
        return [f"  {name}:", *pieces(lineage, self.page, f"schedules.{name}", rate)]

    def stage(self, stage: Stage, optimizer: str) -> str:
        page = Page()
        edge, loads = self.pipeline.parent(stage), on_load(stage)
        phases, waivers = self.phases.lines(stage, page, self.family(stage))
        page.add(f"stage: {self.names[stage.name]}", f"box: {quoted(stage.name)}", "kind: train",
                 f"modules: {{llm: {self.models[stage.name]}}}", "train: [llm]", "frozen: []", "init:")  # fmt: skip
        if edge is None:
            page.add(*self.start(stage))
        else:
            words = ["inherit" if loads is not None and loads.optimizer else "reset",
                     "continue" if shares_clock(edge) else "reset",
                     "continue" if loads is not None and loads.data else "restart"]  # fmt: skip
            page.add(f"  from: {self.names[edge.parent.name]}  # {edge.where}", "  weights: inherit",
                     f"  optimizer: {words[0]}", f"  clock: {words[1]}", f"  data: {words[2]}")  # fmt: skip
            if (loads is None or not loads.data) and self.phases.reads[stage.name] & self.above(stage):
                page.add(f"  reread: {quoted(f'as {stage.where} has it: its launch begins the data again')}")
        page.add(f"schedule: {self.schedules[stage.name]}", f"optimizer: {optimizer}", *self.rope(stage, page))
        page.add("phases:", *phases, "evaluate: [validation_loss]", *self.execution(stage, page))
        if waivers:
            page.add("waivers:", *waivers)
        return page.text()

    def above(self, stage: Stage) -> set[str]:
        """What the ancestors of a stage read."""
        return set[str]().union(*(self.phases.reads[one.name] for one in self.pipeline.ancestors(stage)))

    def start(self, stage: Stage) -> list[str]:
        """New weights, or those of a model from elsewhere, which is then a release of this project."""
        given = stage.text("pretrained") or (stage.text("load") if on_load(stage) is not None else None)
        path = (given and stage.text("converted_from")) or given
        weights = "fresh"
        if path:
            weights = f"{{release: {self.release(path, stage)}}}"
        return [f"  weights: {weights}", "  optimizer: reset", "  clock: reset", "  data: restart"]

    def family(self, stage: Stage) -> Family:
        """The family of a stage's model."""
        return self.parts.families[self.models[stage.name]]

    def release(self, path: str, stage: Stage) -> str:
        """The name of a model that stages begin from; models of one name in several folders are several."""
        if path not in self.releases:
            architecture = FAMILIES[self.family(stage).name].PUBLISHED.architecture
            words = f"{self.name}_{path.rstrip('/').rsplit('/', 1)[-1]}"
            found = self.releases[path] = name_of(words, self.releases.values(), f"{self.name}_start")
            self.out.files[f"releases/{found}.yaml"] = (
                f"release: {found}\nsource: {quoted(path)}  # {stage.at('converted_from', 'pretrained', 'load')}\n"
                f"revision: none\nlicence: unknown\narchitecture: {architecture}\ndigest: none\n"
            )
        return self.releases[path]

    def rope(self, stage: Stage, page: Page) -> list[str]:
        found = rope(stage)
        base = found.base if found is not None else stage.number("rope_base")
        if base is None:
            page.cover("rope", unknown(f"{stage.name} does not say it"))
            return [f"rope: {{base: {grouped(BASE)}, llama3: none, interpolation: 1}}"]
        page.cover("rope", source(stage, *(one for one in ("rope_base", "rope_interpolation", "rope_factor",
                                                           "rope_original") if one in stage.values)))  # fmt: skip
        scaled = "none"
        if found is not None and found.llama3 is not None:
            one = found.llama3
            scaled = f"{{factor: {one.factor:g}, low: {one.low:g}, high: {one.high:g}, original: {one.original:_}}}"
        interpolation = 1 if found is None else found.interpolation
        return [f"rope: {{base: {grouped(base)}, llama3: {scaled}, interpolation: {interpolation:g}}}"]

    def execution(self, stage: Stage, page: Page) -> list[str]:
        world, nodes = stage.count("world"), stage.count("nodes")
        page.cover("execution", ("chosen", "reason", "a place to start from"))
        if world is None or not nodes or world % nodes:
            world, nodes = 8, 1
        else:
            page.cover("execution.ranks", source(stage, "world"))
            page.cover("execution.nodes", source(stage, "nodes"))
        stated, length = stage.count("save_every") or 0, (last_step(stage) or STEPS) - begin(stage)
        every = stated if 0 < stated < length else min(1000, max(1, length // 2))
        if every == stated:
            page.cover("execution.checkpoint_every", source(stage, "save_every"))
        return [f"execution: {{nodes: {nodes}, ranks: {world}, memory: 1000 GB, time_limit: 2880 min, "
                f"checkpoint_every: {grouped(every)} steps, keep_partials: 2}}"]  # fmt: skip

    def scale(self) -> str:
        page = Page()
        seeds = [stage for stage in self.pipeline.stages if stage.count("seed") is not None]
        page.add(f"# {self.name} at its own size.", f"scale: {self.name}", "engine: torch", "engine_class: torch-bf16",
                 "device: cuda", "threads: 8", f"seed: {seeds[0].count('seed') if seeds else 1}", "corpora: published",
                 "releases: given",
                 "execution: {nodes: 1, ranks: 8, memory: 1000 GB, time_limit: 2880 min, checkpoint_every: 1000 steps,",
                 "            keep_partials: 2, activations: recomputed, determinism: exact}",
                 "evaluation: {samples: 1024}", f"pipelines: {{{self.name}: identity}}")  # fmt: skip
        page.cover('"*"', ("chosen", "reason", "a place to start from; the seed is the recipe's, where it names one"))
        return page.text()
