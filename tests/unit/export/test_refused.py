"""What is not exported, and what is left behind when an export fails: nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.errors import UsageError, UserError
from stages.export import folder as writer
from stages.store import files
from stages.store.disk import Disk
from tests.edits import edit, replaced
from tests.unit.export.conftest import Export


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.mark.parametrize("dtype", [None, "fp16", "float32"])
def test_the_type_has_to_be_said(dtype: str | None, exported: Export, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--dtype: found .*; allowed: bf16 or fp32"):
        exported("plain/tuned", dtype)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["", "5", "5TB", "-1GB", "0GB", "1e9 GB", "٣GB"])
def test_a_size_has_a_unit(size: str, exported: Export) -> None:
    with pytest.raises(UsageError, match=r"--shard-size: found .*; allowed: a number of KB, MB or GB"):
        exported("plain/tuned", shard=size)


def test_a_size_beyond_all_floats_is_a_size(exported: Export) -> None:
    assert (exported("plain/tuned", shard=f"{'9' * 400}GB") / "model.safetensors").is_file()


@pytest.mark.parametrize(("ref", "why"), [("plain/later", "missing"), ("toy/chat", "missing")])
def test_an_unfinished_stage(ref: str, why: str, exported: Export, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{ref} is {why} .*; allowed: a stage that is done\. `stages run {ref}"):
        exported(ref)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_whose_parents_are_missing_too_is_run_by_snakemake(copied: Path, exported: Export) -> None:
    shutil.rmtree(copied / "results/mini/plain/tuned")
    (copied / "Snakefile").touch()
    command = "snakemake plain__later --config scale=mini"
    with pytest.raises(UserError, match=rf"plain/later is missing .*; allowed: a stage that is done\. `{command}`"):
        exported("plain/later", root=copied)


def test_a_stale_stage(copied: Path, exported: Export) -> None:
    spec = copied / "specs/plain/tuned.yaml"
    edit(spec, "context: 128", "context: 64")
    with pytest.raises(UserError, match=r"plain/tuned is stale \(its spec, a parent or the data changed"):
        exported("plain/tuned", root=copied)


@pytest.mark.parametrize(("ref", "named"), [("plain/base", "plain/base"), ("toy/kept", "toy/text")])
def test_a_damaged_stage(ref: str, named: str, copied: Path, exported: Export, tmp_path: Path) -> None:
    weights = copied / f"results/mini/{named}/model/llm/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=rf"{named} is damaged.*blake3"):
        exported(ref, root=copied)
    assert not (tmp_path / "export").exists()


def test_a_damaged_tokenizer(copied: Path, exported: Export) -> None:
    path = copied / "results/mini/data/tokenizer/tokenizer.json"
    path.write_bytes(replaced(path.read_bytes(), b"<eos>", b"<end>", everywhere=True))
    with pytest.raises(UserError, match=r"corpus tokenizer cannot be used.*`stages data tokenizer"):
        exported("plain/tuned", root=copied)


def test_a_stage_without_a_language_model(exported: Export) -> None:
    with pytest.raises(UserError, match=r"toy/vit: found .*moonvit.*; allowed: a language model alone"):
        exported("toy/vit")


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_place_that_is_taken(kind: str, exported: Export, tmp_path: Path) -> None:
    place = tmp_path / "export"
    make: dict[str, Callable[[], None]] = {
        "folder": place.mkdir, "file": place.touch, "link": lambda: place.symlink_to(tmp_path / "nowhere"),
    }  # fmt: skip
    make[kind]()
    with pytest.raises(UserError, match=r"export: is there already; allowed: a new folder. Nothing was written"):
        exported("plain/tuned")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_place_among_results(copied: Path, exported: Export) -> None:
    with pytest.raises(UserError, match=r"lies in .*results, where runs write"):
        exported("plain/tuned", root=copied, folder=copied / "results/mini/plain/mine")


def test_a_licence_file_that_is_not_there(exported: Export, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--licence-file: .*nothing cannot be read"):
        exported("plain/tuned", terms=tmp_path / "nothing")


class Failing(Disk):
    """A disk that is full after so many writes, or that flips a bit in one of them."""

    def __init__(self, after: int, flips: bool) -> None:
        self.left, self.flips = after, flips

    def write(self, handle: int, data: memoryview) -> int:
        self.left -= 1
        if self.left >= 0:
            return super().write(handle, data)
        if not self.flips:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left, spoiled = 10**9, bytearray(data)
        spoiled[-1] ^= 1
        return super().write(handle, memoryview(spoiled))


@pytest.mark.parametrize("after", [0, 2, 5, 8])
@pytest.mark.parametrize("flips", [False, True])
def test_a_disk_that_fails_leaves_nothing(
    after: int, flips: bool, exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "disk", Failing(after, flips))
    with pytest.raises(UserError, match="the disk is not to be trusted" if flips else "No space left on device"):
        exported("plain/tuned", shard="20KB")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed_by_the_next(exported: Export, tmp_path: Path) -> None:
    (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000000").mkdir()
    (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000000/model.safetensors").touch()
    assert [path.name for path in exported("plain/tuned").parent.iterdir()] == ["export"]


def left(folder: Path) -> Path:
    """A directory with a file in it, as a killed export leaves one."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("name", ["mine", "12.mine", "12x", "x12", "", "-12", "٣", "12 ", "12\n", "1234567890"])
def test_a_directory_of_the_users_own_with_a_name_like_a_leftover_stays(
    name: str, exported: Export, tmp_path: Path
) -> None:
    mine = left(tmp_path / f".export.export.elsewhere.0a1b2c3d.7.{name}")
    exported("plain/tuned")
    assert (mine / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("name", "other"), [("a[b]", "ab"), ("a*", "axyz"), ("a?", "ax"), ("a.b", "axb"), ("(a|b)", "a")]
)
def test_characters_of_patterns_in_a_name_mean_themselves(
    name: str, other: str, exported: Export, tmp_path: Path
) -> None:
    own, neighbour = (
        left(tmp_path / f".{name}.export.elsewhere.0a1b2c3d.7.4000000"),
        left(tmp_path / f".{other}.export.elsewhere.0a1b2c3d.7.4000000"),
    )
    exported("plain/tuned", folder=tmp_path / name)
    assert not own.exists()
    assert (neighbour / "model.safetensors").read_bytes() == b"weights"


def test_what_an_export_that_is_still_running_has_written_stays(exported: Export, tmp_path: Path) -> None:
    running = left(tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000000")
    with writer._locked(running):
        exported("plain/tuned")
    assert (running / "model.safetensors").read_bytes() == b"weights"


def test_a_link_or_a_file_with_the_name_of_a_leftover_stays(exported: Export, tmp_path: Path) -> None:
    mine = left(tmp_path / "mine")
    (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000000").symlink_to(mine)
    (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000001").write_bytes(b"mine")
    exported("plain/tuned")
    assert (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000000").is_symlink()
    assert (tmp_path / ".export.export.elsewhere.0a1b2c3d.7.4000001").read_bytes() == b"mine"
    assert (mine / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    "licence", ["", " ", "mit\n", "mit\nbase_model: other", "mit\r", "mit\u2028x", "\x1b[31mmit", "mit\x85"]
)
def test_a_licence_is_a_name_on_one_line(licence: str, exported: Export, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--licence: found .*; allowed: a licence's name on one line"):
        exported("plain/tuned", licence=licence)
    assert list(tmp_path.iterdir()) == []
