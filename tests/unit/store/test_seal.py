"""The seal: what it covers, and how each way of disagreeing with it is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.store import files, manifest, seal
from stages.store.digest import digest_bytes
from stages.store.json_file import JsonFileError
from stages.store.layout import Layout
from stages.store.manifest import Manifest
from tests.unit.store.conftest import A

MANIFEST = b"{}"


@pytest.fixture
def record(tmp_path: Path) -> Manifest:
    """A folder with one file that the manifest covers, and one that it does not."""
    files.write_atomic(tmp_path / "model/w", b"weights")
    files.write_atomic(tmp_path / "run.json", b"run")
    return Manifest(
        schema_version=1, stage="toy/one", key=A, tier="bit-exact", stand_in=False, parents={}, points_to=None,
        counters={}, shards=manifest.shards(tmp_path, ["model"]),
    )  # fmt: skip


def sealed(folder: Path, record: Manifest, later: tuple[str, ...] = ()) -> Path:
    seal.write(folder, "manifest.json", MANIFEST, record, later)
    (folder / "manifest.json").write_bytes(MANIFEST)
    return folder


def said(folder: Path) -> list[tuple[str, str, str]]:
    return [(one.file.relative_to(folder).as_posix(), one.expected, one.actual) for one in seal.problems(folder)]


def test_it_covers_what_the_manifest_does_not_and_the_manifest_and_itself(tmp_path: Path, record: Manifest) -> None:
    found = seal.read(sealed(tmp_path, record))
    assert found.files == {"manifest.json": digest_bytes(MANIFEST), "run.json": digest_bytes(b"run")}
    text = json.dumps(found.files, sort_keys=True)
    assert found.seal == digest_bytes(text.encode())
    assert seal.problems(tmp_path) == []
    assert seal.later(tmp_path, record) == set()


def test_a_file_that_was_replaced_later_is_covered_by_the_seal(tmp_path: Path, record: Manifest) -> None:
    sealed(tmp_path, record, later=("model/w",))
    assert sorted(seal.read(tmp_path).files) == ["manifest.json", "model/w", "run.json"]
    assert seal.later(tmp_path, record) == {"model/w"}


def test_what_a_run_wrote_is_sealed_as_it_was_meant(tmp_path: Path, record: Manifest) -> None:
    with files.recording() as written:
        files.write_atomic(tmp_path / "timing.csv", b"seconds")
    (tmp_path / "timing.csv").write_bytes(b"sec\0nds")
    (tmp_path / "somebody's").touch()
    data = manifest.encode(record)
    seal.write(tmp_path, manifest.NAME, data, record, written=written)
    files.write(tmp_path / manifest.NAME, data)
    assert seal.read(tmp_path).files.keys() == {"timing.csv", manifest.NAME}
    assert [one.file.name for one in seal.problems(tmp_path)] == ["timing.csv"]


def test_without_a_readable_seal_nothing_was_replaced(tmp_path: Path, record: Manifest) -> None:
    assert seal.later(tmp_path, record) == set()
    (tmp_path / "seal.json").write_text("{")
    assert seal.later(tmp_path, record) == set()


def test_each_file_that_differs_or_is_gone_is_named(tmp_path: Path, record: Manifest) -> None:
    sealed(tmp_path, record)
    (tmp_path / "run.json").write_bytes(b"rUn")
    assert said(tmp_path) == [("run.json", f"blake3 {digest_bytes(b'run')}", f"blake3 {digest_bytes(b'rUn')}")]
    (tmp_path / "run.json").unlink()
    assert said(tmp_path) == [("run.json", f"blake3 {digest_bytes(b'run')}", "nothing")]


def test_a_seal_that_is_gone_unreadable_or_edited_is_the_one_problem(tmp_path: Path, record: Manifest) -> None:
    sealed(tmp_path, record)
    right = json.loads((tmp_path / "seal.json").read_text())
    edited = {**right["files"], "run.json": "0" * 64}
    (tmp_path / "seal.json").write_text(json.dumps({**right, "files": edited}))
    own = digest_bytes(json.dumps(edited, sort_keys=True).encode())
    assert said(tmp_path) == [("seal.json", f"digests that come to blake3 {right['seal']}", f"blake3 {own}")]
    (tmp_path / "seal.json").write_text("{")
    with pytest.raises(JsonFileError) as caught:
        seal.read(tmp_path)
    found = f"blake3 {digest_bytes(b'{')} ({caught.value.reason})"
    assert said(tmp_path) == [("seal.json", "a readable seal", found)]
    (tmp_path / "seal.json").unlink()
    assert said(tmp_path) == [("seal.json", "a seal with the digests of manifest.json, run.json and others", "nothing")]


@pytest.mark.parametrize("name", ["/etc/passwd", "", "a//b", "a/", "a\x00b"])
def test_no_path_of_a_seal_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "seal.json").write_text(json.dumps({"files": {name: "1"}, "seal": "1"}))
    with pytest.raises(JsonFileError):
        seal.read(tmp_path)


def test_a_layout_s_manifest_is_the_one_that_a_seal_names(layout: Layout) -> None:
    assert layout.manifest("toy/one").name == manifest.NAME
