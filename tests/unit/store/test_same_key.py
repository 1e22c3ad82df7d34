"""Results of one key under two names: one is put in place as the other, and whose child stays as it is."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

from stages.spec.resolved import Stage
from stages.store import built_on, done, finish, manifest, revise, same_key, seal
from stages.store.layout import Layout
from stages.store.manifest import Parent
from stages.store.shards import Shard
from stages.sync.verdicts import judge
from tests.unit.store.conftest import A, Run, verdict
from tests.unit.train import tiny

B, C = "b" * 32, "c" * 32
WEIGHTS = "model/model.safetensors"
NEW = tiny.make("next_token").model_copy(update={"pipeline": "toy", "name": "new"})


def take(layout: Layout, key: str = A, parents: dict[str, Parent] | None = None) -> str | None:
    return same_key.take_over(layout, "toy/new", key, parents or {}, NEW)


def test_a_result_of_another_name_is_taken_over_with_its_bytes(layout: Layout, run: Run) -> None:
    digest = run("toy/old", A)
    assert take(layout) == "toy/old"
    assert done.is_done(layout, "toy/new", A, {}, deep=True).done
    assert done.is_done(layout, "toy/old", A, {}, deep=True).done
    assert manifest.read_with_digest(layout.manifest("toy/new"))[1] == digest
    assert (layout.stage("toy/new") / WEIGHTS).samefile(layout.stage("toy/old") / WEIGHTS)
    assert Stage.model_validate_json((layout.stage("toy/new") / "stage.json").read_bytes()) == NEW
    assert not list(layout.run(A).glob(".shared*"))


def test_files_are_copied_where_there_are_no_hard_links(
    layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    run("toy/old", A)
    monkeypatch.setattr(revise.os, "link", refuse)
    assert take(layout) == "toy/old"
    shutil.rmtree(layout.stage("toy/old"))
    assert done.is_done(layout, "toy/new", A, {}, deep=True).done


def test_what_was_moved_out_of_place_under_another_name_is_taken_over(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    run("toy/old", B)
    assert not finish.restore(layout, "toy/new", A, {})
    assert take(layout) == "toy/old"
    assert verdict(layout, "toy/new").done
    assert verdict(layout, "toy/old", B).done


def test_one_of_another_scale_is_taken_over_too(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    other = Layout(layout.root, "small")
    assert same_key.take_over(other, "toy/new", A, {}, NEW) == "toy/old@mini"


def test_a_damaged_one_is_not_taken_over(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    (layout.stage("toy/old") / WEIGHTS).write_bytes(b"weightr")
    assert take(layout) is None
    assert not layout.stage("toy/new").exists()
    assert not list(layout.run(A).glob(".shared*"))


def test_one_that_was_built_on_another_result_is_not_taken_over(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    run("toy/old", B, {"toy/one": A})
    run("toy/one", A, content=b"other bits")
    assert take(layout, B, manifest.parents(layout, {"toy/one": A})) is None


@pytest.mark.parametrize("change", [{"points_to": "toy/one"}, {"shards": "README.md"}], ids=["pointer", "model card"])
def test_what_names_stages_in_its_content_is_made_anew(layout: Layout, run: Run, change: dict[str, Any]) -> None:
    run("toy/old", A)
    folder = layout.stage("toy/old")
    if "shards" in change:
        (folder / "README.md").write_text("toy/old")
        change = {"shards": manifest.shards(folder, ["model", "README.md"])}
    manifest.write(folder, manifest.read(layout.manifest("toy/old")).model_copy(update=change))
    assert same_key.in_place(layout) == {}
    assert take(layout) is None


def test_unlisted_files_and_pictures_stay_where_they_are(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    for name in ("plots/loss.png", "model/model.sync-conflict-1.safetensors", "damage.txt"):
        path = layout.stage("toy/old") / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert take(layout) == "toy/old"
    there = {path.name for path in layout.stage("toy/new").rglob("*") if path.is_file()}
    assert there == {"model.safetensors", "manifest.json", "stage.json", "seal.json"}


def test_a_child_stays_done_when_its_parent_is_renamed_and_rebuilt(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    run("toy/child", B, {"toy/old": A})
    os.rename(layout.stage("toy/old"), layout.root / "gone")
    run("toy/new", A)
    assert verdict(layout, "toy/child", B, {"toy/new": A}).done
    run("toy/new", A, content=b"other bits")
    assert verdict(layout, "toy/child", B, {"toy/new": A}).why == "parent toy/new was run again with another result"


def test_other_evaluations_make_no_other_parent(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    record = manifest.read(layout.manifest("toy/old"))
    evaluated = Shard(file="eval.json", size=1, blake3="0" * 64)
    later = record.model_copy(update={"stage": "toy/new", "shards": [*record.shards, evaluated]})
    assert manifest.identity(later) == manifest.identity(record)
    other = record.model_copy(update={"counters": {**record.counters, "clock": 7}})
    assert manifest.identity(other) != manifest.identity(record)


def test_a_record_of_before_there_was_an_identity_still_counts(layout: Layout, run: Run) -> None:
    digest = run("toy/one", A)
    now = manifest.parents(layout, {"toy/one": A})
    assert built_on.same(layout, {"toy/before": Parent(key=A, manifest=digest)}, now)
    assert not built_on.same(layout, {"toy/before": Parent(key=A, manifest="0" * 64)}, now)
    assert not built_on.same(layout, {"toy/before": Parent(key=B, manifest=digest)}, now)
    assert not built_on.same(layout, {}, now)
    twins = {name: Parent(key=A, manifest=digest) for name in ("toy/before", "toy/twin")}
    assert not built_on.same(layout, twins, now)


def test_a_pointer_follows_what_it_points_to_to_its_new_name(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    run("toy/kept", B, {"toy/old": A})
    record = manifest.read(layout.manifest("toy/kept")).model_copy(update={"points_to": "toy/old"})
    manifest.write(layout.stage("toy/kept"), record)
    assert take(layout) == "toy/old"
    shutil.rmtree(layout.stage("toy/old"))
    assert manifest.payload(layout, "toy/kept") == layout.stage("toy/new")
    run("toy/old", C)  # something else under the old name
    assert manifest.payload(layout, "toy/kept") == layout.stage("toy/new")


def test_status_says_what_is_taken_over_and_leaves_children_as_they_are(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    run("toy/child", B, {"toy/old": A})
    stages = {"toy/new": NEW, "toy/child": NEW.model_copy(update={"parents": ("toy/new",)})}
    judged = judge(layout, stages, {"toy/new": A, "toy/child": B})
    assert judged["toy/new"].state == "missing"
    assert judged["toy/new"].why == "toy/old has the same key: its result is taken over, no training"
    assert judged["toy/child"].done


def test_of_several_names_the_first_whole_result_is_taken(layout: Layout, run: Run) -> None:
    for ref in ("toy/a", "toy/b"):
        run(ref, A)
    (layout.stage("toy/a") / WEIGHTS).write_bytes(b"Weights")
    assert take(layout) == "toy/b"


def test_what_lies_aside_and_cannot_be_read_is_passed_over(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    run("toy/old", A)
    run("toy/old", B)
    (layout.run(A) / "final-0002" / "manifest.json").write_text("{")
    assert take(layout) == "toy/old"
    assert verdict(layout, "toy/new").done


def test_what_is_moved_away_meanwhile_is_passed_over(layout: Layout, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for ref in ("toy/a", "toy/b"):
        run(ref, A)
    share = revise.share

    def gone(source: Any, target: Any) -> None:
        if "a" in source.parts:
            raise FileNotFoundError(source)
        share(source, target)

    monkeypatch.setattr(same_key, "share", gone)
    assert take(layout) == "toy/b"


def test_an_evaluation_that_was_replaced_is_taken_over_with_the_times_of_its_steps(layout: Layout, run: Run) -> None:
    run("toy/old", A)
    folder = layout.stage("toy/old")
    for name in ("eval.json", "timing.csv"):
        (folder / name).write_text("1")
    record = manifest.read(folder / manifest.NAME)
    record = record.model_copy(update={"shards": manifest.shards(folder, ["model", "eval.json"])})
    seal.write(folder, manifest.NAME, manifest.encode(record), record)
    manifest.write(folder, record)
    revise.replace(layout, "toy/old", A, {"eval.json": b"newer"})
    assert take(layout) == "toy/old"
    new = layout.stage("toy/new")
    assert done.is_done(layout, "toy/new", A, {}, deep=True).done
    assert ((new / "eval.json").read_text(), (new / "timing.csv").read_text()) == ("newer", "1")
    assert sorted(seal.read(new).files) == ["eval.json", "manifest.json", "stage.json", "timing.csv"]
