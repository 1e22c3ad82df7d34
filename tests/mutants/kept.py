"""Defects in what is kept: tiers, results of killed jobs, keys, checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from stages.engines import Inputs, place, results
from stages.spec import key, resolved_pipeline
from stages.spec.project import Project
from stages.spec.resolved import Stage
from stages.store import attempts, done, files, fingerprint, finish, manifest, partials, trees
from stages.store.digest import Written, digest_bytes, digest_file
from stages.store.layout import Layout
from stages.store.manifest import Parent
from stages.train.checkpoint import Counters
from stages.train.ranks import ALONE, Ranks
from tests.faults import test_crash as crash
from tests.faults.disks import Failing, PowerCutError
from tests.faults.recorder import Recorder, build
from tests.unit.spec import small_project
from tests.unit.train import tiny


def holds_tier(folder: Path) -> bool:
    """A result says its tier and its environment: three ranks and what is built on them promise the order only."""
    plain = tiny.make("next_token")
    three = plain.model_copy(update={"execution": tiny.EXECUTION.model_copy(update={"ranks": 3})})
    wanted = {"alone": "bit-exact", "three": "same-order", "child": "same-order"}
    for number, (name, stage) in enumerate({"alone": plain, "three": three, "child": plain}.items()):
        inputs = tiny.inputs(folder, f"{number:032x}")
        if name == "child":
            above = inputs.layout.manifest("tiny/three")
            parent = Parent(key=f"{1:032x}", manifest=digest_file(above))
            inputs = Inputs(inputs.layout, inputs.key, inputs.phase_keys, {"tiny/three": parent}, inputs.data_root, {})
        with attempts.start(inputs.layout, f"tiny/{name}", inputs.key, inputs.parents) as attempt:
            named = stage.model_copy(update={"name": name})
            results.complete(
                named,
                inputs,
                attempt,
                Counters(1, 0, 0, 1, 1, 1),
                None,
                place.machine(ALONE),
                results.promise(named, inputs),
            )
        result = inputs.layout.stage(f"tiny/{name}")
        run = json.loads((result / "run.json").read_bytes())
        if not run["environment"] or json.loads((result / manifest.NAME).read_bytes()).get("tier") != wanted[name]:
            return False
    return True


def tier_left_out(patch: pytest.MonkeyPatch, folder: Path) -> None:
    encode = manifest.encode

    def without(record: manifest.Manifest) -> bytes:
        fields = json.loads(encode(record))
        del fields["tier"]
        return json.dumps(fields).encode()

    patch.setattr(manifest, "encode", without)


def any_ranks_exact(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(Ranks, "exact", property(lambda self: True))


def parents_tier_forgotten(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(results, "_parents", lambda inputs: [])


def environment_left_out(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(fingerprint, "fingerprint", lambda *_: {})


def old_or_new(root: Path, new_expected: bool = False) -> bool:
    try:
        crash.assert_old_or_new(root, new_expected)
    except AssertionError:
        return False
    return True


def holds_kill(folder: Path) -> bool:
    """A job killed at (every fifth of) its changes leaves the old result or the new; without a shard there is none."""
    crash.stage(Layout(folder / "old", "mini"), crash.A, crash.OLD)
    for at in range(1, crash.changes(folder) + 1, 5):
        root = folder / f"{at}"
        shutil.copytree(folder / "old", root)
        with suppress(PowerCutError), crash.using(Failing(at, None, lasting=True)):
            crash.stage(Layout(root, "mini"), crash.B, crash.NEW)
        if not old_or_new(root):
            return False
    layout = Layout(folder / "old", "mini")
    (layout.stage(crash.REF) / "model" / "w").unlink()
    return not done.is_done(layout, crash.REF, crash.A, {}).done


def deleted_first(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(finish, "_move_back", lambda layout, place: trees.remove_tree(place))


def there_is_done(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def look(layout: Layout, ref: str, key: str, *rest: object) -> done.Verdict:
        return done.Verdict(ref, key, "done" if layout.stage(ref).exists() else "missing", "")

    patch.setattr(done, "_look", look)


def manifest_believed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(manifest, "problems", lambda folder, record, deep: [])


def holds_whole(folder: Path) -> bool:
    """A power cut leaves the old or the new; a resume takes the latest whole checkpoint built on its parents."""
    if not resumes_from_the_right_one(Layout(folder / "partials", "mini")):
        return False
    recorder = Recorder(folder / "live")
    recorder.root.mkdir()
    with crash.using(recorder):
        crash.stage(Layout(recorder.root, "mini"), crash.A, crash.OLD)
        crash.stage(Layout(recorder.root, "mini"), crash.B, crash.NEW)
    for number, state in enumerate(recorder.states[-1]):  # once finish has returned, nothing may take the result back
        build(folder / f"after{number}", state)
        if not old_or_new(folder / f"after{number}", new_expected=True):
            return False
    return True


def resumes_from_the_right_one(layout: Layout) -> bool:
    built_on = {crash.REF: Parent(key=crash.A, manifest="0" * 64)}
    other = {crash.REF: Parent(key=crash.A, manifest="1" * 64)}
    for parents, steps in ((built_on, (10, 20, 30)), (other, (40,))):
        with attempts.start(layout, "toy/two", crash.B, parents) as attempt:
            for step in steps:
                partials.save(partials.path(attempt, step), lambda to: files.write(to / "weights", crash.STEP) and None)
    found = [partials.latest(layout, crash.B, built_on)]
    os.truncate(next(layout.run(crash.B).rglob("partial-000000030")) / "weights", 3)
    found.append(partials.latest(layout, crash.B, built_on))
    return [None if one is None else partials.step_of(one) for one in found] == [30, 20]


def never_flushed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def write(path: Path, data: bytes, flush: bool = True) -> Written:
        handle = files.disk.create(path)
        files.disk.write(handle, memoryview(data))
        files.disk.close(handle)
        return Written(len(data), digest_bytes(data))

    patch.setattr(files, "_write", write)


def names_never_flushed(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(files, "fsync_dir", lambda path: None)


def truncated_accepted(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setattr(partials, "problems", lambda folder: [])


def stale_preferred(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def anyones(layout: Layout, wanted: str, parents: object) -> list[Path]:
        found = [one for attempt in attempts.folders(layout, wanted) for one in partials.listed(attempt)]
        return sorted(found, key=partials.step_of, reverse=True)

    patch.setattr(partials, "built_on", anyones)


EVERYTHING = {"first", "second", "release"}
PIPELINE = "toy/pipeline.yaml"
EDITS: tuple[tuple[str, str, str, set[str]], ...] = (
    (PIPELINE, "title: A toy", "title: Another", set()),
    (PIPELINE, "pipeline: toy\n", "pipeline: toy  # a comment\n", set()),
    ("toy/first.yaml", "box: First", "box: The first", set()),
    ("toy/second.yaml", "optimizer: inherit", "optimizer: reset", {"second", "release"}),
    (PIPELINE, "beta2: 0.95", "beta2: 0.99", EVERYTHING),
    ("toy/first.yaml", "budget: 1B\n    context: 8Ki", "budget: 0.9B\n    context: 8Ki", EVERYTHING),
    ("data/tokenizer.yaml", "digest: cc", "digest: dd", EVERYTHING),
)


def holds_keys(folder: Path) -> bool:
    """Keys change with a value that changes numbers, from there on down, and with nothing else."""
    small_project.write(folder)
    before = Project.load(folder).resolve("toy", "mini").keys
    for file, old, new, changed in EDITS:
        small_project.edit(folder, file, old, new)
        after = Project.load(folder).resolve("toy", "mini").keys
        if {stage for stage in before if before[stage] != after[stage]} != changed:
            return False
        before = after
    return True


def identified(patch: pytest.MonkeyPatch, change: Callable[[Stage, dict[str, Any]], dict[str, Any]]) -> None:
    real = key.identity
    patch.setattr(
        key, "identity", lambda value: change(value, real(value)) if isinstance(value, Stage) else real(value)
    )


def commit_in_key(patch: pytest.MonkeyPatch, folder: Path) -> None:
    def commit() -> str:
        return str(blake3(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.yaml")))).hexdigest())

    identified(patch, lambda stage, fields: fields | {"commit": commit()})


def title_in_key(patch: pytest.MonkeyPatch, folder: Path) -> None:
    identified(patch, lambda stage, fields: fields | {"box": stage.box})


def optimizer_not_in_key(patch: pytest.MonkeyPatch, folder: Path) -> None:
    identified(patch, lambda stage, fields: {**fields, "optimizer": None})


def parents_not_in_key(patch: pytest.MonkeyPatch, folder: Path) -> None:
    real = key.stage_key
    patch.setattr(resolved_pipeline, "stage_key", lambda stage, parents: real(stage, dict.fromkeys(parents, "0" * 32)))


PROPERTIES = {"I-21": holds_tier, "I-24": holds_kill, "I-25": holds_keys, "I-26": holds_whole}
MUTANTS = (
    ("I-21", "a manifest without its tier", "stages/store/manifest.py", tier_left_out),
    ("I-21", "equal bits promised for three ranks", "stages/train/ranks.py", any_ranks_exact),
    ("I-21", "more promised than a parent promises", "stages/engines/results.py", parents_tier_forgotten),
    ("I-21", "no environment beside the tier", "stages/store/fingerprint.py", environment_left_out),
    ("I-24", "the finished result deleted before the rename", "stages/store/finish.py", deleted_first),
    ("I-24", "a folder that is there taken as done", "stages/store/done.py", there_is_done),
    ("I-24", "a manifest believed where its shard is missing", "stages/store/manifest.py", manifest_believed),
    ("I-25", "the commit in the key", "stages/spec/key.py", commit_in_key),
    ("I-25", "the box's title in the key", "stages/spec/key.py", title_in_key),
    ("I-25", "the optimizer not in the key", "stages/spec/key.py", optimizer_not_in_key),
    ("I-25", "the parents' keys not in the key", "stages/spec/key.py", parents_not_in_key),
    ("I-26", "files not flushed before the rename that says they are there", "stages/store/files.py", never_flushed),
    ("I-26", "folders' names never flushed", "stages/store/files.py", names_never_flushed),
    ("I-26", "a truncated checkpoint accepted", "stages/store/partials.py", truncated_accepted),
    ("I-26", "a later checkpoint built on other parents preferred", "stages/store/partials.py", stale_preferred),
)
