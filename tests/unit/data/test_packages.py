"""Only files that are as their wheel declared them become training data."""

from __future__ import annotations

import base64
import hashlib
import sys
from pathlib import Path

import pytest

from stages.data.generated.packages import read_packages, verified_bytes
from stages.data.spec import PackageSource
from stages.errors import UserError

CODE = b'"""A module."""\r\nx = 1\n'


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution `tiny` 1.0 with tiny/a.py and tiny/tests/t.py, on sys.path."""
    lines = []
    for name in ("tiny/a.py", "tiny/tests/t.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CODE)
        digest = base64.urlsafe_b64encode(hashlib.sha256(CODE).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(CODE)}")
    info = tmp_path / "tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (info / "RECORD").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def source(version: str = "1.0", name: str = "tiny", files: tuple[str, ...] = ("tiny/*.py",)) -> PackageSource:
    return PackageSource(name, version, files, ("*/tests/*",))


def test_wanted_files_come_with_their_identity(installed: Path) -> None:
    (file,) = read_packages([source()])
    assert file.identity == "tiny/tiny/a.py"
    assert file.text == '"""A module."""\nx = 1\n'


def test_a_changed_file_is_refused_by_name(installed: Path) -> None:
    (installed / "tiny/a.py").write_bytes(CODE + b"y = 2\n")
    with pytest.raises(UserError, match=r"a\.py: changed since tiny 1\.0.*pip install --force-reinstall .*tiny==1\.0"):
        read_packages([source()])


def test_a_deleted_file_is_refused_by_name(installed: Path) -> None:
    (installed / "tiny/a.py").unlink()
    with pytest.raises(UserError, match=r"a\.py: No such file"):
        read_packages([source()])


def test_another_version_is_refused(installed: Path) -> None:
    with pytest.raises(UserError, match=r"found version 1\.0, the corpus is made from 2\.0"):
        read_packages([source(version="2.0")])


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(UserError, match=r"not installed.*nothing_of_this_name==1\.0"):
        read_packages([source(name="nothing_of_this_name")])


def test_a_pattern_without_files_is_refused(installed: Path) -> None:
    with pytest.raises(UserError, match="no file that matches"):
        read_packages([source(files=("tiny/*.rst",))])


def test_a_file_without_a_hash_is_refused(installed: Path) -> None:
    record = installed / "tiny-1.0.dist-info/RECORD"
    record.write_text("tiny/a.py,,\n")
    with pytest.raises(UserError, match="no sha256 in the RECORD"):
        verified_bytes("tiny", "1.0", "tiny/a.py")
