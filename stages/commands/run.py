"""`stages run P/S`: one stage, once its parents are done. The rules call it; so can a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stages import engines
from stages.check.gate import Gate
from stages.cluster import site, slurm
from stages.commands import outside as harness
from stages.commands import released_tokenizer
from stages.commands.in_job import looked_after
from stages.commands.open import open_project, pick
from stages.commands.point import refuse_to_repeat
from stages.commands.run_log import logged
from stages.commands.waiting import POLL, waited
from stages.contract import ledger
from stages.errors import UserError
from stages.spec.key import phase_keys
from stages.spec.resolved import Stage
from stages.store import damage, done, equal, evaluated, finish, manifest, markers, outside, seal
from stages.store.layout import Layout
from stages.store.lease import HeldError
from stages.store.releases import folders as release_folders
from stages.sync import graph
from stages.sync.verdicts import refuse_damaged_corpora
from stages.tracking import start as trackers


def run_stage(ref: str, scale: str, releases: Path | None, awaited: Path | None = None, again: bool = False) -> None:
    """Run a stage unless it is done or an earlier result of the same key can be put back; then set its marker.

    It waits for another run of the stage, such as one whose Snakemake was killed. A point without the checkpoint that
    its trunk would have kept is trained only with `again`. Raises UserError when the marker is not the `awaited` one,
    when a parent is not done (naming it and the command), when the specs have a finding that nobody has waived, or when
    the run fails.
    """
    root, project = open_project(scale)
    loaded = graph.readable(root, project, scale)
    stages, keys = loaded.stages, loaded.keys
    (ref, stage), layout = pick(loaded, ref), Layout(root, scale)
    marker = layout.marker(ref, keys[ref])
    markers.expect(awaited, marker, ref)
    gate, parents = Gate(project, scale, stages), {parent: keys[parent] for parent in stage.parents}
    if not done.is_done(layout, ref, keys[ref], parents).done:
        gate.refuse(ref)
    _refuse_without_parents(layout, stage, stages, keys)
    while not done.is_done(layout, ref, keys[ref], parents, deep=True).done:  # deep: a person may run it to mend damage
        gate.refuse(ref)
        record = manifest.parents(layout, parents)
        if finish.restore(layout, ref, keys[ref], record):
            print(f"{ref}: an earlier result of the same key was put back, no training")
            break
        if other := equal.take_over(layout, ref, keys[ref], record, stage):
            print(f"{ref}: the result of {other}, which has the same key, was taken over, no training")
            break
        with logged(layout.log(keys[ref]), awaited is None), _in_its_time(root, layout, ref, keys[ref]):
            if waited(ref, layout.run(keys[ref])):
                continue
            _refuse_undeclared(stage)
            released_tokenizer.refuse_other(root, layout, project.data, stage, release_folders(releases))
            refuse_damaged_corpora(layout, stage)
            _refuse_short(stage, root, layout)
            harness.refuse_unknown(root, layout, stage)
            try:
                given = inputs_of(layout, stage, stages, keys, record, release_folders(releases))
                if not again:
                    refuse_to_repeat(stage, given)
                _train(layout, stage, given)
                break
            except HeldError:  # another run was faster by a moment
                time.sleep(POLL)
    else:
        if not (evaluated.outdated(layout.stage(ref), stage) or outside.missing(layout, ref, stage)):
            print(f"{ref}: done already, nothing was run")
    _evaluate_again(root, layout, stage, stages, keys, releases)
    while outside.missing(layout, ref, stage):
        with logged(layout.log(keys[ref])), _in_its_time(root, layout, ref, keys[ref]):
            if waited(ref, layout.run(keys[ref])):
                continue
            harness.complete(root, layout, stage, project.data)
            break
    verdict = done.is_done(layout, ref, keys[ref], parents)
    if not verdict.done:
        raise UserError(f"{ref}: the run ended, but its result is {verdict.state}: {verdict.why}.")
    markers.place(marker)


def _evaluate_again(
    root: Path,
    layout: Layout,
    stage: Stage,
    stages: Mapping[str, Stage],
    keys: Mapping[str, str],
    releases: Path | None,
) -> None:
    """Evaluate a result that is there, if its spec or the code asks for other numbers than it has."""
    ref = f"{stage.pipeline}/{stage.name}"
    while why := evaluated.outdated(layout.stage(ref), stage):
        with logged(layout.log(keys[ref])), _in_its_time(root, layout, ref, keys[ref]):
            if waited(ref, layout.run(keys[ref])):
                continue
            refuse_damaged_corpora(layout, stage)
            lacking = ", ".join(evaluated.lacking(layout.stage(ref), stage)) or "nothing is computed"
            print(f"{ref}: {why}. The result is evaluated again ({lacking}), no training")
            record = manifest.parents(layout, {parent: keys[parent] for parent in stage.parents})
            try:
                engines.evaluate(stage, inputs_of(layout, stage, stages, keys, record, release_folders(releases)))
            except HeldError:  # another run was faster by a moment
                time.sleep(POLL)


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
                f"{stage.pipeline}/{stage.name}: starts from the release {init.release!r}, for which "
                f"specs/releases/{init.release}.yaml declares no digest. `stages release {init.release} FOLDER "
                "--accept` prints it."
            )


def _refuse_without_parents(layout: Layout, stage: Stage, stages: Mapping[str, Stage], keys: Mapping[str, str]) -> None:
    missing = []
    for parent in stage.parents:
        above = {grandparent: keys[grandparent] for grandparent in stages[parent].parents}
        verdict = done.is_done(layout, parent, keys[parent], above, deep=True)
        if not verdict.done:
            missing.append(f"{parent} is {verdict.state} ({verdict.why})")
        else:
            for pointed_to in manifest.pointed_to(layout, parent):
                refuse_damaged(layout, pointed_to)
    if missing:
        ref = f"{stage.pipeline}/{stage.name}"
        raise UserError(
            f"{ref} needs its parents: {'; '.join(missing)}. "
            f"`snakemake {graph.rule_name(ref)} --config scale={layout.scale}` runs them and it."
        )


def refuse_damaged(layout: Layout, ref: str) -> None:
    """What a stage builds on is read in full, seal and all: a flipped bit must not be trained on."""
    folder = layout.stage(ref)
    broken = [*seal.problems(folder), *manifest.verify(folder, deep=True)]
    if broken:
        listed = "; ".join(map(str, broken))
        damage.note(folder, listed)  # so that the next `snakemake` rebuilds it
        raise UserError(f"{ref} is damaged: {listed}. `stages run {ref} --scale {layout.scale}` rebuilds it.")


def _refuse_short(stage: Stage, root: Path, layout: Layout) -> None:
    """Rows are counted before step 1: a stage that would run out of them is not begun."""
    if stage.phases:
        from stages.data.rows import refuse_short

        refuse_short(stage, root, layout.data)


def _train(layout: Layout, stage: Stage, given: engines.Inputs) -> None:
    trackers.start(layout, f"{stage.pipeline}/{stage.name}", given.key)
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
    ref = f"{stage.pipeline}/{stage.name}"
    chained, points = _chained(stage, keys), [one for one in stages.values() if one.trunk == ref]
    kept = {sum(map(ledger.count, one.phases)): _chained(one, keys)[-1] for one in points}
    return engines.Inputs(layout, keys[ref], chained, parents, layout.data, releases, kept)


def _chained(stage: Stage, keys: Mapping[str, str]) -> tuple[str, ...]:
    return phase_keys(stage, {parent: keys[parent] for parent in stage.parents})
