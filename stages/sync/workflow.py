"""What the Snakefile asks while it is parsed. The main process judges and refreshes markers; jobs only read."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from stages.check.gate import Gate
from stages.cluster import preflight, resources, site
from stages.cluster.resources import Request
from stages.errors import UsageError, UserError, for_user
from stages.spec.project import Project
from stages.store.layout import Layout
from stages.sync import drivers, forgotten, graph, machine_needs, pulled, saved_graph, verdicts, write
from stages.sync.adoption import EXECUTOR, Adoption
from stages.sync.config import ALL, read_config, read_deep
from stages.sync.machine_needs import SNAKEMAKE
from stages.sync.saved_graph import Kept

EVERYTHING, VARIANTS = "all", "variants"  # rules of the Snakefile: of all published pipelines, of all variants
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Workflow(Kept):
    """The graph at one scale, as paths and numbers that rules need."""

    root: Path
    scale: str
    releases: str | None
    layout: Layout
    gate: Gate | None = field(default=None, compare=False)  # None in a job, whose `stages run` checks for itself
    graph: graph.Graph | None = field(default=None, compare=False)  # in the main process

    @property
    def pipelines(self) -> list[str]:
        """The published pipelines and the variants; none in a job."""
        return [] if self.graph is None else list(self.graph.pipelines)

    def marker(self, ref: str) -> str:
        """The output of a stage's rule, relative to the project."""
        return _relative(self.root, self.layout.marker(ref, self.keys[ref]))

    def data_marker(self, name: str) -> str:
        """The output of a corpus's rule, relative to the project."""
        return self.corpora[name]

    def refuse(self, ref: str) -> None:
        """End Snakemake, dry or not, if a stage that is to be run has an unwaived finding on it or above it."""
        if self.gate is not None and ref in self.undone:
            gate = self.gate
            or_exit(lambda: gate.refuse(ref))

    def elsewhere(self, pipeline: str) -> Callable[[object], NoReturn]:
        """The input of a pipeline without rules here: for it, Snakemake ends and says why.

        It is not at this scale, and at which others; or what is wrong with its specs.
        """

        def leave(wildcards: object) -> NoReturn:
            if self.graph is not None and pipeline in self.graph.unreadable:
                _leave(self.graph.unreadable[pipeline])
            scales = Project.load(self.root).scales_of(pipeline)
            at = ", ".join(scales) or "none"
            _leave(UsageError(f"pipeline {pipeline!r} is not at scale {self.scale}; it is at {at}: --config scale=..."))

        return leave

    def waits(self, name: str, needed: str) -> bool:
        """Whether a job has to wait for another: not where its own result stands and only the other's is rebuilt."""
        return name in self.undone or needed not in self.undone

    @cached_property
    def adoption(self) -> Adoption:
        """Jobs of an earlier driver."""
        return Adoption(self.layout, self.keys)

    def before_jobs(self, rules: Collection[str], executor: type[Any]) -> None:
        """Before the first of these is submitted: end Snakemake if Slurm would refuse one, and say which would wait."""
        if self.graph is None:
            return
        forgotten.watch(executor)
        names = [name for name in (*self.graph.stages, *self.graph.corpora) if graph.rule_name(name) in rules]
        requests = _requests(self.graph, site.load(self.root))
        asked = {name: requests[name] for name in names}
        for line in or_exit(lambda: preflight.check(asked, site.load(self.root))):
            print(f"stages: {line}.", file=sys.stderr)

    def options(self, name: str, executor: str | None) -> str:
        """sbatch's options for a job that is about to be submitted: the site's, and what it has to wait for."""
        waits = or_exit(lambda: self.adoption.option(name)) if executor == EXECUTOR else ""
        return " ".join(filter(None, [str(self.resources_of[name].get("slurm_extra", "")), waits]))


def project(basedir: str) -> Path:
    """The project of the Snakefile. Raises UsageError where Snakemake works elsewhere: the paths of all that is done
    are relative, so that nothing would seem to be done, and jobs would be those of another project, or of none.
    """
    root, here = Path(basedir), Path.cwd()
    if not here.samefile(root):
        raise UsageError(
            f"Snakemake works in {here}; allowed: {root}, the directory of its Snakefile. Type `cd "
            f"{shlex.quote(str(root))}` first, and leave out --directory and --snakefile."
        )
    return root


def open_main(root: Path, config: Mapping[str, Any], quiet: bool, dry: bool = False) -> Workflow:
    """For the main process: check the config and the sync, judge every stage, refresh the markers, say what is stale.

    A `dry` run starts no jobs. Raises UsageError for an unknown config key or scale, UserError when rules or dvc.yaml
    are not in sync, InvalidSpecs where no pipeline can be read.
    """
    scale, releases = read_config(root, config)
    project = Project.load(root)
    loaded = graph.readable(root, project, scale)
    if not loaded.pipelines:
        graph.refuse(loaded.unreadable)
    texts = write.wanted(project, loaded)
    if write.dvc_scale(root) != scale:
        texts["dvc.yaml"] = None  # describes another scale, on purpose
    changed = write.unsynced(root, texts)
    if changed:
        raise UserError(f"{', '.join(changed)}: not what the specs say. Run `stages sync`.")
    layout = Layout(root, scale)
    for line in drivers.enter(root / SNAKEMAKE, forget="--unlock" in sys.argv):
        print(f"stages: {line}", file=sys.stderr)
    if config.get("deep") not in (None, ALL):  # DVC, whose own earlier process may have been killed
        _wait_for_others(root, layout, loaded, read_deep(loaded, config))
    with drivers.also_in_a_dry_run():
        judged = verdicts.refresh(root, layout, loaded, read_deep(loaded, config))
    machine_needs.refuse_unreadable_notes(root)
    undone = [name for name, one in judged.items() if not one.done]
    if undone and not dry:
        machine_needs.refuse_full_disk(root)
    flow = _build(root, scale, releases, layout, loaded, undone, Gate(project, scale, loaded.stages))
    if not dry:  # else there are no jobs that would read it
        saved_graph.write(layout.markers, flow)
    for name, error in loaded.unreadable.items():
        print(f"stages: {name} is left out, its specs cannot be read: {error}", file=sys.stderr)
    if not quiet:
        lines = [graph.start_line(loaded, set(undone)), *pulled.note(root, layout, judged.values())]
        print("\n".join(lines), file=sys.stderr)
    return flow


def open_job(root: Path, config: Mapping[str, Any]) -> Workflow:
    """For a job's own process: what its main process worked out, read back; no spec is resolved, no marker touched."""
    scale, releases = read_config(root, config)
    layout = Layout(root, scale)
    return Workflow(root=root, scale=scale, releases=releases, layout=layout, **vars(saved_graph.read(layout.markers)))


def unfinished(flow: Workflow, rules: Collection[str]) -> list[str]:
    """What of these rules is not done now that all jobs have ended, by the keys as of the start, and what to do.

    Snakemake's own word is not enough: it may leave out a job, and a parent that was run again may have come out
    otherwise than its children were built on.
    """
    if flow.graph is None:
        return []
    names = {graph.rule_name(name): name for name in (*flow.graph.stages, *flow.graph.corpora)}
    judged = verdicts.look(flow.root, flow.layout, flow.graph)
    listed = [judged[name] for rule, name in names.items() if rule in rules]
    undone = [f"{one.ref} is {one.state}: {one.why}" for one in listed if not one.done]
    wanted = {name: VARIANTS if name in flow.graph.variants else EVERYTHING for name in flow.graph.unreadable}
    broken = [f"{name}: {flow.graph.unreadable[name]}" for name, rule in wanted.items() if rule in rules]
    repair = "Correct that, and start Snakemake again." if broken else "Start Snakemake again."
    return [*undone, *broken, repair] if undone or broken else []


def asked_for(flow: Workflow, rules: Collection[str]) -> list[str]:
    """The stages among these rules, for a command line; empty if they are all that plain `snakemake` runs."""
    refs = [ref for ref in flow.keys if graph.rule_name(ref) in rules]
    return [] if set(refs) == set(flow.published) else refs


def or_exit(call: Callable[[], T]) -> T:
    """Call, and end the process with the error's own exit code and no traceback for what the user can correct."""
    try:
        return call()
    except Exception as error:
        if (reported := for_user(error)) is None:
            raise
        _leave(reported)


def _build(
    root: Path, scale: str, releases: str | None, layout: Layout, loaded: graph.Graph, undone: list[str], gate: Gate
) -> Workflow:
    stages, on = loaded.stages, site.load(root)
    requests = _requests(loaded, on)
    return Workflow(
        root=root,
        scale=scale,
        releases=releases,
        layout=layout,
        published=list(loaded.published),
        published_corpora=list(loaded.published_corpora),
        variants=[ref for ref in stages if ref not in loaded.published],
        keys={ref: loaded.keys[ref] for ref in stages},
        corpora_of={ref: list(graph.corpora(stage, loaded)) for ref, stage in stages.items()},
        threads_of={ref: stage.execution.threads * stage.execution.ranks for ref, stage in stages.items()},
        resources_of={name: resources.snakemake(request, on) for name, request in requests.items()},
        urgency_of=graph.urgencies(loaded),
        graph=loaded,
        corpora={name: _relative(root, verdicts.corpus_marker(root, layout, name)) for name in loaded.corpora},
        undone=undone,
        absent=[*loaded.absent, *loaded.unreadable],
        gate=gate,
    )


def _requests(loaded: graph.Graph, on: site.Site) -> dict[str, Request]:
    """What the job of each stage and each corpus asks for."""
    requests = {ref: resources.of_stage(stage, on) for ref, stage in loaded.stages.items()}
    return requests | {name: resources.light(on) for name in loaded.corpora}


def _wait_for_others(root: Path, layout: Layout, loaded: graph.Graph, names: list[str]) -> None:
    """Wait until no other Snakemake of this host has a lock on what this one is called for."""

    def marker(name: str) -> str:
        if name in loaded.stages:
            return _relative(root, layout.marker(name, loaded.keys[name]))
        return _relative(root, verdicts.corpus_marker(root, layout, name))

    for name in names:
        drivers.wait(root / SNAKEMAKE, name, marker(name), {marker(above) for above in graph.above(loaded, name)})


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _leave(error: UserError) -> NoReturn:
    print(f"stages: {error}", file=sys.stderr)
    sys.stderr.flush()
    # Snakemake turns any exception in a Snakefile into a traceback and exit code 1.
    os._exit(error.exit_code)
