"""What is said of a stage: every state with its reason, what to type, and what a run that goes on tells."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest

from stages.errors import UserError
from stages.store import attempts, damage, digest, done, files, json_file, lease, manifest, partials, progress, seal
from stages.store.done import Verdict
from stages.store.holder import Holder
from stages.store.layout import Layout
from tests.unit.store.conftest import A, Run, verdict

B, C = "b" * 32, "c" * 32
COMMAND = "stages run toy/one --scale mini"
WEIGHTS = "model/model.safetensors"


class StopError(UserError):
    resumable = True


class InfiniteError(UserError):
    repeats = True
    step = 27


def deep(layout: Layout, ref: str = "toy/one", key: str = A) -> Verdict:
    return done.is_done(layout, ref, key, {}, deep=True)


def test_what_was_never_run_is_missing_and_says_what_to_type(layout: Layout) -> None:
    assert verdict(layout) == Verdict("toy/one", A, "missing", "not run yet", command=COMMAND)
    assert not verdict(layout).done


def test_a_result_as_it_is_wanted_is_done_and_nothing_is_to_be_typed(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    assert verdict(layout) == deep(layout) == Verdict("toy/one", A, "done", "")
    assert verdict(layout).done


def test_a_run_says_who_it_is_of_and_then_how_far(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"process {os.getpid()} on host {socket.gethostname()}"
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        assert verdict(layout) == Verdict("toy/one", A, "running", where, log=layout.log(A))
        monkeypatch.setattr(time, "time", lambda: 1000.0)
        progress.write(attempt.folder, "main", 30, 100, 2.0)
        monkeypatch.setattr(time, "time", lambda: 1020.0)
        told = Verdict("toy/one", A, "running", where, 30, log=layout.log(A), steps=100, seconds_left=120.0)
        assert verdict(layout) == told
        monkeypatch.setattr(time, "time", lambda: 9999.0)  # longer than was thought
        assert verdict(layout).seconds_left is None
        monkeypatch.setattr(time, "time", lambda: 500.0)  # the clock was set back
        assert verdict(layout).seconds_left == 140.0


def test_what_runs_under_the_wanted_key_is_said_though_another_result_is_in_place(layout: Layout, run: Run) -> None:
    run("toy/one", B)
    with attempts.start(layout, "toy/one", A, {}):
        assert (verdict(layout).state, verdict(layout, key=B).state) == ("running", "done")
    assert verdict(layout).state == "failed"


def test_a_job_is_named_with_its_nodes(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Holder("n1", 7, 1.5, 3, "17", ("n1", "n2"))
    monkeypatch.setattr(lease, "holder", lambda folder: held if folder == layout.run(A) else None)
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        told = Verdict("toy/one", A, "running", "job 17 on n1, n2", log=layout.log(A), job="17")
        assert verdict(layout) == told
        progress.write(attempt.folder, "main", 30, 100, 2.0)
        found = verdict(layout)
        assert (found.why, found.job, found.step, found.steps) == (told.why, "17", 30, 100)


@pytest.mark.parametrize(
    ("error", "state", "why", "step", "command", "repeats"),
    [
        (StopError("asked to"), "stopped", "asked to", None, COMMAND, False),
        (InfiniteError("loss"), "failed", "loss", 27, "stages show toy/one --scale mini", True),
        (UserError("full"), "failed", "full", None, COMMAND, False),
    ],
)
def test_a_run_that_ended_says_how_and_what_to_type(
    error: Exception, state: done.State, why: str, step: int | None, command: str, repeats: bool, layout: Layout
) -> None:
    with pytest.raises(UserError), attempts.start(layout, "toy/one", A, {}):
        raise error
    told = Verdict("toy/one", A, state, why, step, None, layout.log(A), command, repeats=repeats)
    assert verdict(layout) == deep(layout) == told


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(layout: Layout) -> None:
    why = done.KILLED
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        pass
    assert verdict(layout) == Verdict("toy/one", A, "failed", why, None, None, layout.log(A), COMMAND)
    for step in (7, 9):
        partials.save(partials.path(attempt, step), lambda folder: files.write(folder / "w", b"1") and None)
    told = Verdict("toy/one", A, "failed", why, 9, partials.path(attempt, 9), layout.log(A), COMMAND)
    assert verdict(layout) == deep(layout) == told


def test_a_run_whose_parent_came_out_otherwise_since_goes_on_from_nothing(layout: Layout, run: Run) -> None:
    keys = {"toy/one": A}
    run("toy/one", A)
    with attempts.start(layout, "toy/two", B, manifest.parents(layout, keys)) as attempt:
        partials.save(partials.path(attempt, 7), lambda folder: files.write(folder / "w", b"1") and None)
    assert verdict(layout, "toy/two", B, keys).partial == partials.path(attempt, 7)
    run("toy/one", A, content=b"other bits")
    found = verdict(layout, "toy/two", B, keys)
    assert (found.state, found.partial, found.step) == ("failed", None, None)
    assert found.why.endswith(
        "; its checkpoints were built on another result of a parent, so a rerun begins at the start"
    )
    layout.stage("toy/one").rename(layout.root / "aside")
    assert verdict(layout, "toy/two", B, keys).partial == partials.path(attempt, 7), "it may come back as it was"


def test_a_deep_look_names_damaged_checkpoints_and_where_the_run_goes_on(layout: Layout) -> None:
    with attempts.start(layout, "toy/one", A, {}) as attempt:
        for step in (7, 9):
            partials.save(partials.path(attempt, step), lambda folder: files.write(folder / "w", b"1") and None)
    (partials.path(attempt, 9) / "w").write_bytes(b"2")
    (problem,) = partials.problems(partials.path(attempt, 9))
    found = deep(layout)
    assert found.why == (
        f"{done.KILLED}; {problem}; damaged checkpoints are not used: `{COMMAND}` goes on from the "
        "last whole one, or from the start"
    )
    assert (found.step, found.partial, found.damaged_checkpoints) == (7, partials.path(attempt, 7), True)
    assert (verdict(layout).why, verdict(layout).damaged_checkpoints) == (done.KILLED, False)


def test_an_attempt_without_its_result_s_folder_was_none(layout: Layout) -> None:
    """A kill before a run began leaves nothing to go on from, and nothing to be told."""
    (layout.run(A) / "attempt-0001").mkdir(parents=True)
    assert verdict(layout).state == "missing"


def test_another_key_is_stale_and_both_are_told_by_their_beginnings(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    why = f"its spec, a parent or the data changed: key {'a' * 12}, wanted {'b' * 12}"
    assert verdict(layout, key=B) == Verdict("toy/one", B, "stale", why, command=COMMAND)


def test_damage_is_told_with_what_rebuilds_it_and_stays_known(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    path = layout.stage("toy/one") / WEIGHTS
    path.write_bytes(b"Weights")
    assert verdict(layout).done, "of the same size"
    (problem,) = manifest.verify(layout.stage("toy/one"), deep=True)
    told = Verdict("toy/one", A, "damaged", f"{problem}; `{COMMAND}` rebuilds it", command=COMMAND)
    assert deep(layout) == verdict(layout) == told
    assert verdict(layout, key=B).state == "damaged", "a damaged manifest must not be believed"
    path.write_bytes(b"weights")
    assert verdict(layout) == told, "until a deep check finds all well"
    assert deep(layout).done
    assert verdict(layout).done
    assert damage.noted(layout.stage("toy/one")) == ""


def test_a_manifest_that_cannot_be_read_is_damage_and_a_deep_look_adds_what_the_seal_says(
    layout: Layout, run: Run
) -> None:
    run("toy/one", A)
    layout.manifest("toy/one").write_text("{")
    with pytest.raises(manifest.ManifestError) as caught:
        manifest.read(layout.manifest("toy/one"))
    assert verdict(layout) == Verdict("toy/one", A, "damaged", str(caught.value), command=COMMAND)
    (problem,) = seal.problems(layout.stage("toy/one"))
    assert deep(layout).why == f"{caught.value}; {problem}; `{COMMAND}` rebuilds it"


def test_unlisted_files_are_named_by_a_deep_check_alone(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    (layout.stage("toy/one") / "copy").write_bytes(b"")
    assert (verdict(layout).unlisted, deep(layout).unlisted) == ((), (layout.stage("toy/one") / "copy",))
    assert deep(layout).done


def test_a_parent_that_came_out_otherwise_makes_a_child_stale_and_a_rerun_another_result(
    layout: Layout, run: Run
) -> None:
    run("toy/one", A)
    run("toy/two", B, {"toy/one": A})
    assert verdict(layout, "toy/two", B, {"toy/one": A}).done
    assert not done.rebuilds_otherwise(layout, "toy/two", B, {"toy/one": A})
    run("toy/one", A, content=b"other bits")
    found = verdict(layout, "toy/two", B, {"toy/one": A})
    assert (found.state, found.why) == ("stale", "parent toy/one was run again with another result")
    assert done.rebuilds_otherwise(layout, "toy/two", B, {"toy/one": A})
    assert not done.rebuilds_otherwise(layout, "toy/two", C, {"toy/one": A}), "stale by its key"
    assert not done.rebuilds_otherwise(layout, "toy/three", B, {}), "there is none"


def test_a_parent_that_is_not_there_contradicts_nothing_and_other_parents_do(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/two", B, {"toy/one": A})
    found = verdict(layout, "toy/two", B, {"toy/zero": C})
    assert found.why == f"its parents were toy/one (key {A[:12]}), wanted toy/zero (key {C[:12]})"
    assert verdict(layout, "toy/two", B, {}).why == f"its parents were toy/one (key {A[:12]}), wanted none"
    layout.stage("toy/one").rename(layout.root / "aside")
    assert verdict(layout, "toy/two", B, {"toy/one": A}).done
    assert Path(layout.root / "aside").is_dir()


@pytest.mark.parametrize("file", ["model/model.safetensors", "manifest.json"])
def test_what_a_disk_cannot_give_back_is_damage_and_what_this_user_may_not_read_is_none(
    file: str, layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage is rebuilt, which takes weeks; a permission is mended in a second."""
    run("toy/one", A)
    whole, error = digest.measure, OSError(errno.EIO, "Input/output error", file)

    def measure(path: Path) -> digest.Written:
        if path == layout.stage("toy/one") / file:
            raise error
        return whole(path)

    monkeypatch.setattr(digest, "measure", measure)
    found = deep(layout)
    assert (found.state, "found blake3 none (Input/output error)" in found.why) == ("damaged", True)
    error = PermissionError(errno.EACCES, "Permission denied", file)
    with pytest.raises(PermissionError):
        deep(layout)


def test_a_manifest_that_this_user_may_not_read_is_not_called_damaged(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("toy/one", A)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(json_file, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"manifest\.json"):
        verdict(layout)
