"""`stages show P/S`: what a stage is handed, what it does with it, and where its numbers come from, in words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

from stages.commands.find_project import named_refs, open_graph
from stages.commands.hand_over import hand_over
from stages.commands.listing import budget
from stages.contract import hardware as profiles
from stages.contract import ledger, numbers
from stages.contract.duration import document_lengths
from stages.contract.schedule import lr, lr_before, peak
from stages.plan.figures import short
from stages.plan.padding import padding
from stages.plan.stage import plan_stage
from stages.printable import print_json
from stages.report.number_format import count, length, rate, seconds
from stages.spec.loader_data import LoadedData
from stages.spec.nodes import Document
from stages.spec.project import Project
from stages.spec.resolved import Execution, Stage
from stages.spec.resolved_parallel import Parallel
from stages.spec.resolved_phases import Phase
from stages.spec.resolved_training import Schedule
from stages.sync import graph

WIDTH = 100
LABEL = 15


def print_stages(named: str, scale: str, as_json: bool) -> None:
    """A stage, or each stage of a pipeline, in words; with --json every value it will be run with, and its key."""
    _, project, loaded = open_graph(scale)
    refs = named_refs(loaded, [named])
    if as_json:
        shown = [{"key": loaded.keys[ref], **loaded.stages[ref].model_dump(mode="json")} for ref in refs]
        print_json(shown[0] if "/" in named else shown)
        return
    for number, ref in enumerate(refs):
        print("\n" * (number > 0), end="")
        if "/" in named and named.partition("/")[0] != ref.partition("/")[0]:
            print(f"{named} comes out as {ref} does, and is not run twice.")
        _print_stage(project, loaded, ref)


def _print_stage(project: Project, loaded: graph.Graph, ref: str) -> None:
    stage, scale = loaded.stages[ref], loaded.scale
    print(f"{ref} at scale {scale}: {stage.box}")
    own = f", a seed of its own: {stage.seed}" if stage.seed != project.scale(scale).seed else ""
    _print("kind", f"{stage.kind}, {stage.engine_class}{own}, key {loaded.keys[ref]}")
    if stage.execution.parallel is not None:
        _print("layout", _layout(stage.execution, stage.execution.parallel))
    parts = (hand_over(stage, loaded.stages), _work(stage, project.data), _waived(project, stage))
    for label, text in chain(*parts, _price(project, stage), _origins(project, stage)):
        _print(label, text)
    print(f"every value: stages show {ref} --scale {scale} --json")


def _layout(execution: Execution, parallel: Parallel) -> str:
    """How the NeMo engine divides the stage."""
    sizes = {name: getattr(parallel, name) for name in ("tp", "pp", "vpp", "cp", "ep")}
    divided = ", ".join(f"{name} {size}" for name, size in sizes.items() if size > 1) or "whole on a rank"
    also = [name for name in ("sequence_parallel", "distributed_optimizer") if getattr(parallel, name)]
    more = "".join(f", {name}" for name in (*also, f"recompute {parallel.recompute}"))
    return f"{execution.ranks} ranks, {execution.dp} replicas; a model {divided}{more}"


def _print(label: str, text: str) -> None:
    """One entry: the label in its own column, the text wrapped next to it."""
    indent = " " * (LABEL + 2)
    begin = f"  {label:<{LABEL - 1}} "
    print(textwrap.fill(text, WIDTH, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False))


def _work(stage: Stage, data: LoadedData) -> Iterator[tuple[str, str]]:
    """Learning rate and optimizer, then phase by phase what is read, in which steps."""
    if stage.schedule is not None and stage.optimizer is not None:
        used = f"schedule {stage.schedule.name}, {stage.optimizer.kind}"
        used += ", gradients not clipped" if stage.optimizer.clip is None else ""
        jumps = "".join(f"; jumps at {count(at)}: {why}" for at, why in stage.schedule.jumps)
        yield "learning rate", f"{_rates(stage, stage.schedule)}, {used}{jumps}"
    for phase in stage.phases:
        for name, first, last in numbers.over(stage, phase):
            yield (
                name,
                f"{first:g} -> {last:g}{f' in phase {phase.name}' if len(stage.phases) > 1 else ''}, by a schedule",
            )
    for phase in stage.phases:
        yield f"phase {phase.name}", f"{_phase(phase)}{_padding(stage, phase, data)}"
        yield "  reads", _sources(phase)
    if len(stage.phases) > 1:
        yield "in all", budget(stage)
    if stage.evaluation.names:
        yield "evaluated by", ", ".join(stage.evaluation.names)
    if (requested := stage.evaluation.lm_eval) is not None:
        limit = "" if requested.limit is None else f", {requested.limit:,} documents of each at most"
        yield "lm_eval", f"{', '.join(requested.tasks)}{limit}"
    if (on := stage.evaluation.on) is not None:
        yield "  on", f"{', '.join(source.corpus for source in on.sources)}, in rows of {length(on.context)}"


def _waived(project: Project, stage: Stage) -> Iterator[tuple[str, str]]:
    """What the stage need not keep, and its whole pipeline."""
    for waiver in (*stage.waivers, *project.resolve(stage.pipeline, stage.scale).waivers):
        yield "waived", f"{waiver.id} at {', '.join(waiver.at)}, {waiver.found}: {waiver.reason}"


def _padding(stage: Stage, phase: Phase, data: LoadedData) -> str:
    """What of the budget is no token, where whole documents are packed."""
    share = padding(stage, phase, data)
    if share is None:
        return "" if phase.packing == "concatenate" else ", padding not measured"
    return f", {float(share):.0%} of the tokens padding" if share else ""


def _rates(stage: Stage, schedule: Schedule) -> str:
    """Where the rate begins and ends, the peak where it lies in between, and the first step's."""
    first, start = stage.phases[0], stage.phases[0].clock_start
    end = stage.phases[-1].clock_end
    begin, last = lr_before(schedule, start), lr(schedule, end)
    highest, at = peak(schedule, start, end)
    between = "" if highest in (begin, last) else f"{rate(highest)} (the peak, at clock {count(at)}) -> "
    stepped = rate(lr(schedule, start + next(ledger.steps(first)).end))
    return f"{rate(begin)} -> {between}{rate(last)} ({stepped} at the first step)"


def _price(project: Project, stage: Stage) -> Iterator[tuple[str, str]]:
    """Device-hours on the device of the stage's scale, where specs/hardware has it."""
    device = profiles.usual(stage.execution.device)
    if stage.phases and device in project.files.names("hardware"):
        hardware = profiles.load(project.files, device)
        lengths = document_lengths(project.data)
        hours = plan_stage(stage.name, stage, {}, hardware, lengths).device_hours  # state is of disk alone
        yield "takes", f"about {_spent(hours, hardware.hours)} on {hardware.name}; see stages plan {stage.pipeline}"


def _spent(hours: float, unit: str) -> str:
    """12.3 "core-hours", and below one hour "5 min 2 s of one core"."""
    return f"{short(hours)} {unit}" if hours >= 1 else f"{seconds(hours * 3600)} of one {unit.removesuffix('-hours')}"


def _phase(phase: Phase) -> str:
    batches = [f"{step.sequences:,} x {length(phase.context)}" for step in phase.batch]
    parts = [
        f"{phase.objective}, {count(phase.budget)} {phase.unit} in {ledger.count(phase):,} steps of "
        + ", then ".join(batches),
        f"{phase.epochs} epochs" if phase.epochs > 1 else "",
        f"{phase.loops.count} loops" if phase.loops else "",
        "documents masked from each other" if phase.document_mask else "documents see each other",
        "a row has both answers of each pair" if phase.preference is not None else "",
        {"concatenate": "", "whole": "packed whole", "fixed": "packed whole, once"}[phase.packing],
    ]
    return ", ".join(part for part in parts if part)


def _sources(phase: Phase) -> str:
    """Corpora with their shares, within each group where there are two."""
    totals = {group: sum(one.weight for one in phase.sources if one.group == group) for group in ("text", "multimodal")}

    def shares(group: str) -> str:
        chosen = sorted((one for one in phase.sources if one.group == group), key=lambda one: -one.weight)
        return ", ".join(f"{one.corpus} {100 * one.weight / totals[group]:.3g}%" for one in chosen)

    if phase.share is None:
        return shares("text") or shares("multimodal")
    first, last = (f"{100 * float(Fraction(*share)):.3g}%" for share in (phase.share.first, phase.share.last))
    ramp = last if first == last else f"{first} rising to {last}"
    return f"multimodal {ramp} of samples: {shares('multimodal')}; text: {shares('text')}"


def _origins(project: Project, stage: Stage) -> Iterator[tuple[str, str]]:
    """Sources of the numbers: of the stage's own file and of what that is laid over; and where the rest stands."""
    name: str | None = stage.pipeline
    while name:
        path = project.files.specs / name / f"{stage.name}.yaml"
        document = project.files.document(path) if path.is_file() else None
        if document is not None and document.value.get("sources"):
            yield "numbers of", project.files.relative(path)
            yield from _marks(document)
        name = project.loaded(name).raw.extends
    if stage.phases:
        shrunk = project.shrink(stage.pipeline, stage.scale).shrink is not None
        where = f", made small by specs/scales/{stage.scale}.yaml" if shrunk else ""
        yield "see also", f"pipeline.yaml beside it for models, optimizers and schedules{where}"


def _marks(document: Document) -> Iterator[tuple[str, str]]:
    for entry in document.value["sources"]:
        covers = ", ".join("all the rest" if path == "*" else path for path in entry["covers"])
        why = entry.get("citation") or entry.get("reason")
        yield f"  {entry['mark']}", f"{covers}: {why}" if why else covers
