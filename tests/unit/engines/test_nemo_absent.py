"""What a user hears where Megatron is not there, or a package beside it is and cannot be loaded."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from stages.engines.nemo import cpu, engine
from stages.errors import UserError
from tests.unit.train import tiny


def refused(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> str:
    """What a stage says whose import of Megatron comes to this module."""

    def install() -> None:
        importlib.import_module(name)

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(cpu, "install", install)
    with pytest.raises(UserError) as caught:
        engine.run(tiny.make("next_token"), tiny.inputs(folder))
    return str(caught.value)


@pytest.mark.parametrize("kind", ["OSError", "ImportError"])
@pytest.mark.parametrize("name", ["transformer_engine", "apex", "flash_attn"])
def test_a_package_of_another_cuda_is_named(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / kind / name
    package.mkdir(parents=True)
    package.joinpath("__init__.py").write_text(f"raise {kind}('libcudnn.so.9: cannot open shared object file')\n")
    assert refused(monkeypatch, package.parent, name) == (
        f"tiny/box: engine nemo: {name} is installed and cannot be loaded (libcudnn.so.9: cannot open shared object "
        "file); allowed: a build for this torch and CUDA, or none, without which Megatron computes too. Install it "
        "again, or uninstall it."
    )


def test_without_megatron_what_makes_its_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, tmp_path, "megatron_that_is_nowhere") == (
        "tiny/box: engine nemo: No module named 'megatron_that_is_nowhere'. "
        "`make nemo` makes an environment that has it."
    )


def test_a_folder_that_cannot_be_made_is_no_missing_megatron(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "package_with_a_cache"
    tmp_path.joinpath(f"{name}.py").write_text("import os\nos.mkdir('/proc/cache')\n")
    said = refused(monkeypatch, tmp_path, name)
    assert said.startswith("tiny/box: engine nemo: Megatron is installed and cannot be loaded ([Errno 2] No such file")
    assert "make nemo" not in said
