"""Manifests: what children receive, pointers and names, and what of a folder is not as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.store import files, manifest
from stages.store.digest import digest_bytes
from stages.store.layout import Layout
from stages.store.manifest import Manifest, ManifestError, Parent
from stages.store.shards import Problem, Shard
from tests.unit.store.conftest import A, Run

B = "b" * 32
WEIGHTS = "model/model.safetensors"


def record(layout: Layout, ref: str = "toy/one") -> Manifest:
    return manifest.read(layout.manifest(ref))


def said(folder: Path, deep: bool) -> list[tuple[str, str, str]]:
    return [
        (one.file.relative_to(folder).as_posix(), one.expected, one.actual) for one in manifest.verify(folder, deep)
    ]


def pointer(layout: Layout, ref: str, to: str) -> None:
    """A `keep` stage that is built on what it points to."""
    there, key = record(layout, to), "d" * 32
    pointing = there.model_copy(
        update={
            "stage": ref, "key": key, "points_to": to, "shards": [],
            "parents": {to: Parent(key=there.key, manifest=manifest.identity(there))},
        }
    )  # fmt: skip
    manifest.write(layout.stage(ref), pointing)


def test_all_that_was_written_on_the_way_is_listed_and_nothing_else(tmp_path: Path) -> None:
    """Digests are of what was meant, whatever the disk made of it; what somebody else put there is no part."""
    with files.recording() as written:
        for name in ("model/b", "model/a", "state/c"):
            files.make_dirs((tmp_path / name).parent)
            files.write(tmp_path / name, name.encode())
    (tmp_path / "model/a").write_bytes(b"rotten")
    (tmp_path / "model/unlisted").write_bytes(b"")
    found = manifest.shards(tmp_path, ["model", "state"], written)
    names = ["model/a", "model/b", "state/c"]
    assert [(one.file, one.blake3) for one in found] == [(name, digest_bytes(name.encode())) for name in names]


def test_a_deep_look_reads_every_digest_and_a_quick_one_the_sizes(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    folder, right, wrong = layout.stage("toy/one"), digest_bytes(b"weights"), digest_bytes(b"Weights")
    assert said(folder, True) == said(folder, False) == []
    (folder / WEIGHTS).write_bytes(b"Weights")
    assert said(folder, False) == []
    assert said(folder, True) == [(WEIGHTS, f"blake3 {right}", f"blake3 {wrong}")]
    (folder / WEIGHTS).write_bytes(b"weight")
    now = f"6 bytes, blake3 {digest_bytes(b'weight')}"
    assert said(folder, False) == [(WEIGHTS, f"7 bytes, blake3 {right}", "6 bytes")]
    assert said(folder, True) == [(WEIGHTS, f"7 bytes, blake3 {right}", now)]
    (folder / WEIGHTS).unlink()
    nothing = [(WEIGHTS, f"a file of 7 bytes, blake3 {right}", "nothing")]
    assert said(folder, True) == said(folder, False) == nothing
    (folder / "manifest.json").unlink()
    with pytest.raises(ManifestError, match=r"manifest\.json: is not there\. Rerun the stage that writes it\."):
        manifest.verify(folder, deep=True)


def test_a_problem_names_the_file_what_was_expected_and_what_is_there() -> None:
    assert str(Problem(Path("a/b"), "x", "y")) == "a/b: expected x, found y"


def test_a_folder_gives_its_files_a_file_itself_and_what_is_not_there_nothing(tmp_path: Path) -> None:
    for name in ("model/b", "model/a/c", "metrics.csv", "other"):
        files.write_atomic(tmp_path / name, name.encode())
    found = manifest.shards(tmp_path, ["model", "metrics.csv", "eval.json"])
    assert found == [
        Shard(file=name, size=len(name), blake3=digest_bytes(name.encode()))
        for name in ("metrics.csv", "model/a/c", "model/b")
    ]


def test_where_it_is_known_what_was_written_no_other_file_is_of_the_result(tmp_path: Path) -> None:
    with files.recording() as written:
        files.write_atomic(tmp_path / "model/a", b"meant")
    (tmp_path / "model/a (copy)").write_bytes(b"1")
    (tmp_path / "model/a").write_bytes(b"wrong")
    assert manifest.shards(tmp_path, ["model"], written) == [
        Shard(file="model/a", size=5, blake3=digest_bytes(b"meant"))
    ]


def test_children_receive_weights_state_and_counters_and_no_names(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    one = record(layout)
    shard, seven = one.shards[0], {"file": "metrics.csv", "size": 7, "blake3": "7" * 64}
    same: list[dict[str, Any]] = [
        {"stage": "toy/other"}, {"tier": "statistical"}, {"stand_in": True}, {"key": B},
        {"shards": [shard, Shard.model_validate(seven)]},
    ]  # fmt: skip
    other: list[dict[str, Any]] = [
        {"counters": {"steps": 4}},
        {"shards": []},
        {"shards": [shard, Shard.model_validate(seven | {"file": "state/counters.json"})]},
        {"shards": [shard.model_copy(update={"blake3": "7" * 64})]},
        {"shards": [shard.model_copy(update={"file": "model/b"})]},
    ]
    digest = manifest.identity(one)
    assert {manifest.identity(one.model_copy(update=change)) for change in same} == {digest}
    assert len({digest, *(manifest.identity(one.model_copy(update=change)) for change in other)}) == 1 + len(other)


def test_a_pointer_hands_on_what_it_points_to(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    pointer(layout, "toy/keep", "toy/one")
    keep = record(layout, "toy/keep")
    other = keep.model_copy(update={"parents": {"toy/one": Parent(key=A, manifest="7" * 64)}})
    named = keep.model_copy(update={"parents": {"toy/new": keep.parents["toy/one"]}, "points_to": "toy/new"})
    assert manifest.identity(named) == manifest.identity(keep) != manifest.identity(other)


def test_a_parent_is_known_by_its_key_and_by_what_it_hands_on_or_its_bytes(layout: Layout, run: Run) -> None:
    digest = run("toy/one", A)
    one = record(layout)
    for known in (manifest.identity(one), digest):  # the second in records of before
        assert manifest.is_parent(one, digest, Parent(key=A, manifest=known))
        assert not manifest.is_parent(one, digest, Parent(key=B, manifest=known))
    assert not manifest.is_parent(one, digest, Parent(key=A, manifest="7" * 64))


def test_what_a_stage_is_built_on_has_to_be_there_under_its_key(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    identity = manifest.identity(record(layout))
    assert manifest.parents(layout, {"toy/one": A}) == {"toy/one": Parent(key=A, manifest=identity)}
    with pytest.raises(ManifestError) as caught:
        manifest.parents(layout, {"toy/one": B})
    assert str(caught.value) == f"{layout.manifest('toy/one')}: has key {A}, wanted {B}. Run toy/one first."


def test_pointers_are_followed_one_after_the_other(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    pointer(layout, "toy/keep", "toy/one")
    pointer(layout, "toy/again", "toy/keep")
    assert manifest.pointed_to(layout, "toy/one") == []
    assert manifest.pointed_to(layout, "toy/again") == ["toy/keep", "toy/one"]
    assert manifest.payload(layout, "toy/again") == layout.stage("toy/one")
    assert manifest.payload(layout, "toy/one") == layout.stage("toy/one")


def test_what_a_pointer_points_to_has_to_be_what_it_was(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    pointer(layout, "toy/keep", "toy/one")
    pointer(layout, "toy/again", "toy/keep")
    run("toy/one", A, content=b"other bits")
    with pytest.raises(ManifestError) as caught:
        manifest.pointed_to(layout, "toy/again")
    assert str(caught.value) == (
        f"{layout.manifest('toy/one')}: is another result than the one that toy/keep points to. Run toy/keep again."
    )


def test_pointers_in_a_circle_are_named_in_their_order(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    for ref, to in (("toy/x", "toy/y"), ("toy/y", "toy/x")):
        pointing = record(layout).model_copy(update={"stage": ref, "points_to": to, "shards": []})
        manifest.write(layout.stage(ref), pointing)
    with pytest.raises(ManifestError) as caught:
        manifest.pointed_to(layout, "toy/x")
    path = layout.manifest("toy/x")
    assert str(caught.value) == f"{path}: points_to goes round in a circle: toy/x -> toy/y"


def test_a_result_is_found_under_the_name_that_it_has_now(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    assert manifest.renamed(layout, "toy/one", A) == "toy/one"
    assert manifest.renamed(layout, "toy/old", A) == "toy/one"
    assert manifest.renamed(layout, "toy/old", B) == "toy/old", "nowhere"
    layout.stage("toy/other").mkdir()
    layout.manifest("toy/other").write_text("{")
    assert manifest.renamed(layout, "toy/other", A) == "toy/one"


def test_weights_are_what_the_manifest_lists_of_a_module(layout: Layout, run: Run) -> None:
    run("toy/one", A)
    names = ("model/llm/a.safetensors", "model/llm/config.json", "model/llms/a.safetensors", "state/llm.safetensors")
    listed = record(layout).model_copy(update={"shards": [Shard(file=name, size=0, blake3="0" * 64) for name in names]})
    manifest.write(layout.stage("toy/one"), listed)
    assert manifest.weights(layout.stage("toy/one"), "llm") == [layout.stage("toy/one") / names[0]]


def test_an_evaluation_that_was_replaced_is_vouched_for_only_by_a_seal_that_lists_it(tmp_path: Path) -> None:
    shard = Shard(file="eval.json", size=3, blake3=digest_bytes(b"old"))
    one = Manifest(
        schema_version=1, stage="toy/one", key=A, tier="bit-exact", stand_in=False, parents={}, points_to=None,
        counters={}, shards=[shard],
    )  # fmt: skip
    (tmp_path / "eval.json").write_bytes(b"newer")
    for sealed, whole in (
        (None, False), ('{"files": {"eval.json": "1"}}', True), ('{"files": {"other": "1"}}', False),
        ("{", False), ("{}", False), ("[]", False), ('{"files": 1}', False),
    ):  # fmt: skip
        (tmp_path / "seal.json").unlink(missing_ok=True)
        if sealed is not None:
            (tmp_path / "seal.json").write_text(sealed)
        assert (manifest.problems(tmp_path, one, deep=True) == []) is whole, sealed
    (tmp_path / "seal.json").write_text('{"files": {"eval.json": "1"}}')
    (tmp_path / "eval.json").unlink()
    assert len(manifest.problems(tmp_path, one, deep=True)) == 1, "gone"
