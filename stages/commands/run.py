"""`stages run P/S`: one stage, once its parents are done. The rules call it; so can a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stages import engines
from stages.check.gate import Gate
from stages.cluster import site, slurm
from stages.commands import lm_eval, released_tokenizer
from stages.commands.chosen import Chosen, choose
from stages.commands.in_job import looked_after
from stages.commands.parents import refuse_without_parents
from stages.commands.point import refuse_to_repeat
from stages.commands.run_log import logged
from stages.commands.waiting import Held, waited
from stages.contract import ledger
from stages.errors import UserError
from stages.spec.key import phase_keys
from stages.spec.resolved import Stage
from stages.store import evaluated, finish, lm_eval_tasks, manifest, markers, same_key
from stages.store.layout import Layout
from stages.store.lease import HeldError
from stages.store.releases import folders as release_folders
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
    chosen = choose(ref, scale)
    ref, marker = chosen.ref, chosen.layout.marker(chosen.ref, chosen.key)
    markers.expect(awaited, marker, ref)
    gate = Gate(chosen.project, scale, chosen.graph.stages)
    if not chosen.verdict().done:
        gate.refuse(ref)
    refuse_without_parents(chosen)
    made = False
    with ended_when_asked(ref):
        try:
            made = _make(chosen, releases, gate, awaited is None, again)
            if not (made or _unevaluated(chosen)):
                print(f"{ref}: done already, nothing was run")
            _evaluate_again(chosen, releases)
            _evaluate_outside(chosen)
        except StoppedError:
            if not (made and chosen.verdict().done and not _unevaluated(chosen)):
                raise
        verdict = chosen.verdict()
        if not verdict.done:
            raise UserError(f"{ref}: the run ended, but its result is {verdict.state}: {verdict.why}.")
        markers.place(marker)


def _unevaluated(chosen: Chosen) -> bool:
    """Whether a result that is there lacks numbers that its spec requests."""
    layout, ref, stage = chosen.layout, chosen.ref, chosen.stage
    return bool(evaluated.outdated(layout.stage(ref), stage) or lm_eval_tasks.missing(layout, ref, stage))


def _waited(chosen: Chosen) -> bool:
    """Whether another run of the stage was there, and was waited for."""
    return waited(chosen.ref, chosen.layout.run(chosen.key))


@contextmanager
def _attended(chosen: Chosen, alone: bool = True) -> Iterator[None]:
    """What is printed goes into the stage's log too; a Slurm job is stopped ahead of its time limit, and requeued."""
    layout, job = chosen.layout, slurm.this_job()
    with logged(layout.log(chosen.key), alone), ExitStack() as stack:
        if job is not None:
            ahead = site.load(chosen.root).requeue_before
            stack.enter_context(looked_after(chosen.ref, job, layout.run(chosen.key), ahead))
        yield


def _make(chosen: Chosen, releases: Path | None, gate: Gate, alone: bool, again: bool) -> bool:
    """Put a result in place that is not done; False where another run had done so, or nothing had to be."""
    layout, ref, key, stage, held = chosen.layout, chosen.ref, chosen.key, chosen.stage, Held(chosen.ref)
    while not chosen.verdict(deep=True).done:  # deep: it may be run to repair damage
        gate.refuse(ref)
        record = manifest.parents(layout, chosen.parent_keys)
        if finish.restore(layout, ref, key, record):
            print(f"{ref}: an earlier result of the same key was put back, no training")
            return True
        if other := same_key.take_over(layout, ref, key, record, stage):
            print(f"{ref}: the result of {other}, which has the same key, was taken over, no training")
            return True
        with _attended(chosen, alone):
            if _waited(chosen):
                continue
            _refuse_to_begin(chosen, releases)
            try:
                inputs = inputs_of(chosen, record, releases)
                if not again:
                    refuse_to_repeat(stage, inputs)
                trackers.start(layout, ref, key)
                engines.run(stage, inputs)
                return True
            except HeldError as error:  # another run was faster by a moment
                held.wait(error)
            except UserError as error:
                if not chosen.verdict().done:
                    raise
                print(f"{ref}: done. After its result was in place: {error}", file=sys.stderr)
                return True
    return False


def _refuse_to_begin(chosen: Chosen, releases: Path | None) -> None:
    """Raise UserError for what would end the run, or be trained on, and is known before step 1."""
    root, layout, stage = chosen.root, chosen.layout, chosen.stage
    _refuse_undeclared(stage)
    released_tokenizer.refuse_other(root, layout, chosen.project.data, stage, release_folders(releases))
    refuse_damaged_corpora(layout, stage)
    _refuse_short(stage, root, layout)
    lm_eval.refuse_unknown(root, layout, stage)


def _evaluate_again(chosen: Chosen, releases: Path | None) -> None:
    """Evaluate a result that is there, if its spec or the code asks for other numbers than it has."""
    layout, ref, stage, held = chosen.layout, chosen.ref, chosen.stage, Held(chosen.ref)
    while why := evaluated.outdated(layout.stage(ref), stage):
        with _attended(chosen):
            if _waited(chosen):
                continue
            refuse_damaged_corpora(layout, stage)
            lacking = ", ".join(evaluated.lacking(layout.stage(ref), stage)) or "nothing is computed"
            print(f"{ref}: {why}. The result is evaluated again ({lacking}), no training")
            record = manifest.parents(layout, chosen.parent_keys)
            try:
                engines.evaluate(stage, inputs_of(chosen, record, releases))
            except HeldError as error:  # another run was faster by a moment
                held.wait(error)


def _evaluate_outside(chosen: Chosen) -> None:
    """Add what lm-evaluation-harness finds, where the spec requests tasks that the result lacks."""
    while lm_eval_tasks.missing(chosen.layout, chosen.ref, chosen.stage):
        with _attended(chosen):
            if _waited(chosen):
                continue
            lm_eval.complete(chosen.root, chosen.layout, chosen.stage, chosen.project.data)
            return


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
        from stages.data.loading.rows import refuse_short

        refuse_short(stage, root, layout.data)


def inputs_of(chosen: Chosen, parents: Mapping[str, manifest.Parent], releases: Path | None) -> engines.Inputs:
    """What a stage is built on, and, of all stages of its scale, what it keeps for those that branch off.

    Raises UsageError for a folder of `releases` that is none.
    """
    keys, layout = chosen.graph.keys, chosen.layout
    points = [one for one in chosen.graph.stages.values() if one.trunk == chosen.ref]
    kept = {sum(map(ledger.count, one.phases)): phase_keys(one, keys)[-1] for one in points}
    folders = release_folders(releases)
    return engines.Inputs(layout, chosen.key, phase_keys(chosen.stage, keys), parents, layout.data, folders, kept)
