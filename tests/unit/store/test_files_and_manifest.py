"""A manifest is deterministic, read strictly, and knows every file of its result."""

import errno
import json
import os
from pathlib import Path

import pytest
from blake3 import blake3

from stages.store import files, manifest
from stages.store.digest import BLOCK, Written, digest_bytes, digest_file, measure
from stages.store.layout import Layout
from tests.unit.store.conftest import Run

KEY = "a" * 32
LARGE = bytes(range(256)) * (BLOCK // 256) + b"and a little more"


def test_the_digest_of_a_file_is_the_blake3_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 50_000)
    assert digest_file(path) == blake3(path.read_bytes()).hexdigest()


def test_a_write_that_fails_leaves_the_old_bytes_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    files.write_atomic(path, b"old")

    def no_space(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.disk, "rename", no_space)
    with pytest.raises(files.WriteError, match="No space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_the_same_result_gives_the_same_manifest_bytes(layout: Layout, run: Run) -> None:
    first = run("toy/one", KEY)
    layout.stage("toy/one").rename(layout.root / "aside")
    assert run("toy/one", KEY) == first


def test_another_weight_gives_another_manifest_digest(layout: Layout, run: Run) -> None:
    first = run("toy/one", KEY)
    layout.stage("toy/one").rename(layout.root / "aside")
    assert run("toy/one", KEY, content=b"Weights") != first


def test_a_manifest_reads_back_as_it_was_written(layout: Layout, run: Run) -> None:
    run("toy/one", KEY)
    record = manifest.read(layout.manifest("toy/one"))
    assert [shard.file for shard in record.shards] == ["model/model.safetensors"]
    assert record.shards[0].size == len(b"weights")
    assert manifest.encode(record) == layout.manifest("toy/one").read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("key", "short", "key"),
        ("schema_version", 2, "schema_version"),
        ("stand_in", "yes", "stand_in"),
        ("tier", "exact", "tier"),
        ("surprise", 1, "surprise"),
        ("shards", [{"file": "../../etc/passwd", "size": 1, "blake3": "0" * 64}], "shards.0.file"),
        ("shards", [{"file": "a", "size": -1, "blake3": "0" * 64}], "shards.0.size"),
        ("counters", {"loss": float("nan")}, "found NaN"),
    ],
)
def test_a_damaged_field_is_named_with_its_file(
    layout: Layout, run: Run, field: str, value: object, named: str
) -> None:
    run("toy/one", KEY)
    path = layout.manifest("toy/one")
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(manifest.ManifestError, match=named) as caught:
        manifest.read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"key": 1}', "\xff"])
def test_what_is_not_a_manifest_is_an_error_for_the_user(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(manifest.ManifestError, match="rerun the stage"):
        manifest.read(path)


def test_a_pointer_is_followed_to_the_weights(layout: Layout, run: Run) -> None:
    run("toy/one", KEY)
    pointer = manifest.read(layout.manifest("toy/one")).model_copy(
        update={"stage": "toy/keep", "points_to": "toy/one", "shards": []}
    )
    layout.stage("toy/keep").mkdir()
    manifest.write(layout.stage("toy/keep"), pointer)
    assert manifest.payload(layout, "toy/keep") == layout.stage("toy/one")


def test_pointers_that_go_in_a_circle_are_an_error(layout: Layout, run: Run) -> None:
    run("toy/one", KEY)
    record = manifest.read(layout.manifest("toy/one"))
    manifest.write(layout.stage("toy/one"), record.model_copy(update={"points_to": "toy/one"}))
    with pytest.raises(manifest.ManifestError, match="circle"):
        manifest.payload(layout, "toy/one")


@pytest.mark.parametrize("ref", ["", "one", "a/b/c", "/b", "a/"])
def test_a_ref_is_pipeline_slash_stage(layout: Layout, ref: str) -> None:
    with pytest.raises(ValueError, match="not a pipeline/stage"):
        layout.stage(ref)


def test_a_large_file_arrives_whole_with_its_digest(tmp_path: Path) -> None:
    """Above a block, it is hashed while it is flushed."""
    made = files.write(tmp_path / "large", LARGE)
    assert (tmp_path / "large").read_bytes() == LARGE
    assert made == measure(tmp_path / "large") == Written(len(LARGE), digest_bytes(LARGE))


@pytest.mark.parametrize("size", [100, len(LARGE)])
def test_a_flush_that_fails_is_told_and_nothing_is_left(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.disk, "fsync", broken)
    with pytest.raises(files.WriteError, match="Input/output error"):
        files.write(tmp_path / "large", LARGE[:size])
    assert not list(tmp_path.iterdir())
