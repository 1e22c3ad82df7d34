"""`make apex` takes NVIDIA's sources alone, builds what is used, and says what is missing before it compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import setuptools
import torch
import torch.utils.cpp_extension
from setuptools import Extension

from stages.errors import UserError
from stages.models.ops import apex_build, apex_setup, backend
from tests.edits import edit


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with the files by which Apex is known."""
    for name in apex_build.OWN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_a_folder_that_is_not_nvidias_is_refused(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert apex_build.main([str(source / "nowhere")]) == 1
    assert "is no folder" in capsys.readouterr().err
    (source / "csrc/multi_tensor_adam.cu").unlink()
    assert apex_build.main([str(source)]) == 1
    said = capsys.readouterr().err
    assert "it has no csrc/multi_tensor_adam.cu" in said
    assert apex_build.TESTED[:12] in said
    assert "PyPI" in said


def test_pypis_apex_is_removed_by_its_user_first(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "other_apex", lambda: Path("/site/apex"))
    with pytest.raises(UserError, match="pip uninstall apex"):
        apex_build.build(source, "9.0", None)


def test_torch_needs_cuda_and_a_toolkit_of_its_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="built without CUDA"):
        apex_build.toolkit()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.utils.cpp_extension, "CUDA_HOME", None)
    with pytest.raises(UserError, match=r"found no nvcc; needed: CUDA toolkit 13\.0"):
        apex_build.toolkit()
    monkeypatch.setattr(torch.utils.cpp_extension, "CUDA_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    nvcc = tmp_path / "bin/nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.8, V12.8.61'\n")
    nvcc.chmod(0o755)
    with pytest.raises(UserError, match=r"is release 12\.8; needed: CUDA toolkit 13\.0"):
        apex_build.toolkit()
    edit(nvcc, "12.8", "13.0", everywhere=True)
    assert apex_build.toolkit() == tmp_path


def test_the_architecture_is_the_gpus_or_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"APEX_ARCH=9\.0"):
        apex_build.architecture()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert apex_build.architecture() == "9.0"


def test_only_what_is_used_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Any] = []
    monkeypatch.setattr(setuptools, "setup", lambda **fields: built.append(fields))
    names = [*apex_build.USED, "syncbn"]
    (tmp_path / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        f"setup(name='apex', ext_modules=[Extension(name, []) for name in {names}])\n"
    )
    monkeypatch.chdir(tmp_path)
    apex_setup.main()
    (fields,) = built
    assert fields["name"] == "apex"
    assert [extension.name for extension in fields["ext_modules"]] == list(apex_build.USED)
    assert all(isinstance(extension, Extension) for extension in fields["ext_modules"])


def test_a_setup_that_lacks_one_of_them_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setuptools, "setup", lambda **fields: None)
    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup(ext_modules=[])\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="does not build amp_C, fused_layer_norm_cuda, xentropy_cuda"):
        apex_setup.main()


def test_what_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exit code 3"):
        apex_build.run(["sh", "-c", "exit 3"], tmp_path, {"PATH": "/bin:/usr/bin"})
