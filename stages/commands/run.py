"""`stages run P/S`: one stage, once its parents are done. The rules call it; so can a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages import engines
from stages.check.gate import Gate
from stages.cluster import site, slurm
from stages.commands import lm_eval, released_tokenizer
from stages.commands.find_project import open_project, pick
from stages.commands.in_job import looked_after
from stages.commands.parents import refuse_without_parents
from stages.commands.point import refuse_to_repeat
from stages.commands.run_log import logged
from stages.commands.waiting import Held, waited
from stages.contract import ledger
from stages.errors import UserError
from stages.spec.key import phase_keys
from stages.spec.loader_data import LoadedData
from stages.spec.resolved import Stage
from stages.store import done, evaluated, finish, lm_eval_tasks, manifest, markers, same_key
from stages.store.layout import Layout
from stages.store.lease import HeldError
from stages.store.releases import folders as release_folders
from stages.sync import graph
from stages.sync.verdicts import refuse_damaged_corpora
from stages.tracking import start as trackers
from stages.train.stopping import StoppedError, ended_when_asked


def run_stage(ref: str, scale: str, releases: Path | None, awaited: Path | None = None, again: bool = False) -> None:
    """Run a stage unless it is done or an earlier result of the same key can be put back; then set its marker.

    It waits for another run of the stage, such as one whose Snakemake was killed. A point without the checkpoint that
    its trunk would have kept is trained only with `again`. Raises UserError when the marker is not the `awaited` one,
    when a parent is not done (naming it and the command), when the specs have a finding that is not waived, or when
    the run fails.
    """
    root, project = open_project(scale)
    loaded = graph.readable(root, project, scale)
    ref, stage = pick(loaded, ref)
    call = _Call(root, project.data, Layout(root, scale), loaded.stages, loaded.keys, stage, releases)
    layout, marker = call.layout, call.layout.marker(ref, call.key)
    markers.expect(awaited, marker, ref)
    gate = Gate(project, scale, loaded.stages)
    if not call.verdict.done:
        gate.refuse(ref)
    refuse_without_parents(layout, stage, loaded.stages, loaded.keys)
    made = False
    with ended_when_asked(ref):
        try:
            made = _make(call, gate, awaited is None, again)
            if not (made or call.unevaluated):
                print(f"{ref}: done already, nothing was run")
            _evaluate_again(call)
            _evaluate_outside(call)
        except StoppedError:
            if not (made and call.verdict.done and not call.unevaluated):
                raise
        if not call.verdict.done:
            raise UserError(f"{ref}: the run ended, but its result is {call.verdict.state}: {call.verdict.why}.")
        markers.place(marker)


@dataclass(frozen=True)
class _Call:
    """A stage that is to be run, and what there is at its scale."""

    root: Path
    data: LoadedData
    layout: Layout
    stages: Mapping[str, Stage]
    keys: Mapping[str, str]
    stage: Stage
    releases: Path | None

    @property
    def ref(self) -> str:
        return self.stage.ref

    @property
    def key(self) -> str:
        return self.keys[self.ref]

    @property
    def parents(self) -> dict[str, str]:
        """Their keys."""
        return {parent: self.keys[parent] for parent in self.stage.parents}

    @property
    def verdict(self) -> done.Verdict:
        """On its result, without reading digests."""
        return done.is_done(self.layout, self.ref, self.key, self.parents)

    @property
    def unevaluated(self) -> bool:
        """Whether a result that is there lacks numbers that its spec requests."""
        outdated = evaluated.outdated(self.layout.stage(self.ref), self.stage)
        return bool(outdated or lm_eval_tasks.missing(self.layout, self.ref, self.stage))

    def inputs(self, record: Mapping[str, manifest.Parent]) -> engines.Inputs:
        return inputs_of(self.layout, self.stage, self.stages, self.keys, record, release_folders(self.releases))

    def waited(self) -> bool:
        """Whether another run of the stage was there, and was waited for."""
        return waited(self.ref, self.layout.run(self.key))

    @contextmanager
    def attended(self, alone: bool = True) -> Iterator[None]:
        """What is printed goes into the stage's log too; a Slurm job is stopped ahead of its time limit."""
        with logged(self.layout.log(self.key), alone), _in_its_time(self.root, self.layout, self.ref, self.key):
            yield


def _make(call: _Call, gate: Gate, alone: bool, again: bool) -> bool:
    """Put a result in place that is not done; False where another run had done so, or nothing had to be."""
    layout, ref, key, stage, held = call.layout, call.ref, call.key, call.stage, Held(call.ref)
    while not done.is_done(layout, ref, key, call.parents, deep=True).done:  # deep: it may be run to repair damage
        gate.refuse(ref)
        record = manifest.parents(layout, call.parents)
        if finish.restore(layout, ref, key, record):
            print(f"{ref}: an earlier result of the same key was put back, no training")
            return True
        if other := same_key.take_over(layout, ref, key, record, stage):
            print(f"{ref}: the result of {other}, which has the same key, was taken over, no training")
            return True
        with call.attended(alone):
            if call.waited():
                continue
            _refuse_to_begin(call)
            try:
                given = call.inputs(record)
                if not again:
                    refuse_to_repeat(stage, given)
                _train(layout, stage, given)
                return True
            except HeldError as error:  # another run was faster by a moment
                held.wait(error)
            except UserError as error:
                if not call.verdict.done:
                    raise
                print(f"{ref}: done. After its result was in place: {error}", file=sys.stderr)
                return True
    return False


def _refuse_to_begin(call: _Call) -> None:
    """Raise UserError for what would end the run, or be trained on, and is known before step 1."""
    _refuse_undeclared(call.stage)
    released_tokenizer.refuse_other(call.root, call.layout, call.data, call.stage, release_folders(call.releases))
    refuse_damaged_corpora(call.layout, call.stage)
    _refuse_short(call.stage, call.root, call.layout)
    lm_eval.refuse_unknown(call.root, call.layout, call.stage)


def _evaluate_again(call: _Call) -> None:
    """Evaluate a result that is there, if its spec or the code asks for other numbers than it has."""
    layout, ref, stage, held = call.layout, call.ref, call.stage, Held(call.ref)
    while why := evaluated.outdated(layout.stage(ref), stage):
        with call.attended():
            if call.waited():
                continue
            refuse_damaged_corpora(layout, stage)
            lacking = ", ".join(evaluated.lacking(layout.stage(ref), stage)) or "nothing is computed"
            print(f"{ref}: {why}. The result is evaluated again ({lacking}), no training")
            record = manifest.parents(layout, call.parents)
            try:
                engines.evaluate(stage, call.inputs(record))
            except HeldError as error:  # another run was faster by a moment
                held.wait(error)


def _evaluate_outside(call: _Call) -> None:
    """Add what lm-evaluation-harness finds, where the spec requests tasks that the result lacks."""
    while lm_eval_tasks.missing(call.layout, call.ref, call.stage):
        with call.attended():
            if call.waited():
                continue
            lm_eval.complete(call.root, call.layout, call.stage, call.data)
            return


@contextmanager
def _in_its_time(root: Path, layout: Layout, ref: str, key: str) -> Iterator[None]:
    """In a Slurm job, the block is stopped ahead of the job's time limit, and the job requeued."""
    job = slurm.this_job()
    if job is None:
        yield
        return
    with looked_after(ref, job, layout.run(key), site.load(root).requeue_before):
        yield


def _refuse_undeclared(stage: Stage) -> None:
    """Raise UserError for a release that no digest is declared for: its key would not say what was trained on."""
    for init in stage.init.values():
        if init.weights == "release" and init.digest is None:
            raise UserError(
                f"{stage.ref}: starts from the release {init.release!r}, for which "
                f"specs/releases/{init.release}.yaml declares no digest. `stages release {init.release} FOLDER "
                "--accept` prints it."
            )


def _refuse_short(stage: Stage, root: Path, layout: Layout) -> None:
    """Rows are counted before step 1: a stage that would run out of them is not begun."""
    if stage.phases:
        from stages.data.rows import refuse_short

        refuse_short(stage, root, layout.data)


def _train(layout: Layout, stage: Stage, given: engines.Inputs) -> None:
    trackers.start(layout, stage.ref, given.key)
    engines.run(stage, given)


def inputs_of(
    layout: Layout,
    stage: Stage,
    stages: Mapping[str, Stage],
    keys: Mapping[str, str],
    parents: Mapping[str, manifest.Parent],
    releases: Mapping[str, Path],
) -> engines.Inputs:
    """What a stage is built on, and, of all `stages` of its scale, what it keeps for those that branch off."""
    ref = stage.ref
    chained, points = _chained(stage, keys), [one for one in stages.values() if one.trunk == ref]
    kept = {sum(map(ledger.count, one.phases)): _chained(one, keys)[-1] for one in points}
    return engines.Inputs(layout, keys[ref], chained, parents, layout.data, releases, kept)


def _chained(stage: Stage, keys: Mapping[str, str]) -> tuple[str, ...]:
    return phase_keys(stage, {parent: keys[parent] for parent in stage.parents})
