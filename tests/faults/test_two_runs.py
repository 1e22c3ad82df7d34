"""Two runs of one stage at once, each with the right to think itself alone: one finishes, whichever comes first."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from stages.store import attempts, done, files, finish, holder, lease, manifest, partials, trees
from stages.store.layout import Layout
from tests.unit.store.conftest import toy_manifest

KEY, REF = "a" * 32, "toy/one"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "mini")


def begin(stack: ExitStack, layout: Layout, host: str, patch: pytest.MonkeyPatch) -> attempts.Attempt:
    """A run on `host`, which takes every other host's heartbeat for an old one, as a node cut off from others does."""
    patch.setattr(holder.socket, "gethostname", lambda: host)
    patch.setattr(holder, "STALE", -1.0)
    attempt = stack.enter_context(attempts.start(layout, REF, KEY, {}))
    files.make_dirs(attempt.result / "model")
    files.write(attempt.result / "model/weights", host.encode())
    return attempt


def commit(attempt: attempts.Attempt) -> None:
    record = toy_manifest(attempt).model_copy(update={"shards": manifest.shards(attempt.result, ["model"])})
    finish.finish(attempt, record)


@pytest.mark.parametrize("order", ["the first finishes first", "the second finishes first"])
def test_only_the_run_that_took_over_finishes(order: str, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        first = begin(stack, layout, "frozen", monkeypatch)
        second = begin(stack, layout, "living", monkeypatch)
        if order == "the second finishes first":
            commit(second)
        with pytest.raises(lease.LeaseError, match="lost its lease"):
            commit(first)
        if order == "the first finishes first":
            commit(second)
    assert (layout.stage(REF) / "model/weights").read_bytes() == b"living"
    assert done.is_done(layout, REF, KEY, {}, deep=True).done


@pytest.mark.parametrize("order", ["the first renames first", "the second renames first"])
def test_a_run_that_was_about_to_rename_when_another_took_over_loses_nothing(
    order: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the right to finish; then both are whole results, the later one in place and the other aside."""
    with ExitStack() as stack:
        first = begin(stack, layout, "frozen", monkeypatch)
        place = finish.put_in_place
        monkeypatch.setattr(finish, "put_in_place", lambda *_: None)
        commit(first)  # frozen just before its rename
        monkeypatch.setattr(finish, "put_in_place", place)
        second = begin(stack, layout, "living", monkeypatch)
        steps = [lambda: finish.put_in_place(layout, REF, first.result), lambda: commit(second)]
        for step in steps if order == "the first renames first" else reversed(steps):
            step()
    assert done.is_done(layout, REF, KEY, {}, deep=True).done
    aside = layout.run(KEY) / "final"
    assert not manifest.verify(aside, deep=True)
    found = [(folder / "model/weights").read_bytes() for folder in (aside, layout.stage(REF))]
    assert found == ([b"frozen", b"living"] if order == "the first renames first" else [b"living", b"frozen"])


def test_two_that_put_the_same_result_back_at_once_both_find_it_in_place(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        commit(begin(stack, layout, "one", monkeypatch))
    layout.stage(REF).rename(layout.run(KEY) / "final")
    moved = trees.moved

    def after_the_other(source: Path, target: Path) -> bool:
        monkeypatch.setattr(trees, "moved", moved)
        assert finish.restore(layout, REF, KEY, {})
        return moved(source, target)

    monkeypatch.setattr(trees, "moved", after_the_other)
    assert finish.restore(layout, REF, KEY, {})
    assert done.is_done(layout, REF, KEY, {}, deep=True).done


def test_two_stages_that_share_a_phase_may_keep_its_end_at_once(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> None:
        files.write(folder / "weights", b"the same for both")

    monkeypatch.setattr(os, "getpid", lambda: 1)
    end, moved = layout.phase_end(KEY), trees.moved

    def after_the_other(source: Path, target: Path) -> bool:
        monkeypatch.setattr(trees, "moved", moved)
        monkeypatch.setattr(os, "getpid", lambda: 2)
        partials.save(end, write)
        return moved(source, target)

    monkeypatch.setattr(trees, "moved", after_the_other)
    partials.save(end, write)
    assert partials.valid(end)
    assert [path.name for path in layout.run(KEY).iterdir()] == ["phase"]
