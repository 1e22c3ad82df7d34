"""The newer interpreters: everything that needs no torch, from the built wheel and the pins, as `make pythons` runs it.

torch is left out: its wheel is the largest by far, and what is asked here is whether specs are read, checked, planned
and synchronised the same.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stages.spec.project import Project
from tests.package import clean
from tests.package.clean import ROOT, Clean

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]
VERSIONS = ("3.12", "3.13")
COMMANDS = """
stages --version
stages init x --example tiny
cd x
git add --all
git commit --quiet --message new
stages check
stages list
stages show tiny/long
stages plan
stages sync --check
stages diff
stages status
stages schema > schema.json
stages upgrade
"""
KEYS = """from pathlib import Path; from stages.spec.project import Project
print(Project.load(Path("ouro")).keys("mini"))"""


def interpreter(version: str) -> str | None:
    """Python of a version, on PATH or of pyenv, that can make virtual environments."""
    pyenv = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    for python in filter(None, [shutil.which(f"python{version}"), *map(str, pyenv)]):
        if subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0:
            return python
    return None


def make(folder: Path, version: str) -> Clean:
    """An environment with the wheel and all that it declares, but for torch."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    wheel = clean.build_wheel(folder / "wheel")
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    made = Clean(folder / "venv")
    wanted = [str(one) for one in clean.declared(wheel) if one.name != "torch" and one.marker is None]
    pip: list[str | Path] = [made.python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", *wanted], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    return made


@pytest.mark.parametrize("version", VERSIONS)
def test_what_needs_no_torch_works_and_gives_the_same_keys(tmp_path: Path, version: str) -> None:
    made = make(tmp_path, version)
    assert made.type("python --version", tmp_path).startswith(f"Python {version}.")
    assert made.run("python -c 'import torch'", tmp_path).returncode == 1
    said = made.type(COMMANDS, tmp_path)
    assert " 0 findings (0 waived)" in said
    assert "tiny__sft" in made.type("snakemake --dry-run", tmp_path / "x")
    for name in ("llama31_1m", "kimi_vl", "ouro"):
        assert " 0 findings" in made.type(f"stages init {name} --example {name} && cd {name} && stages check", tmp_path)
    here = {ref: key for ref, key in Project.load(ROOT).keys("mini").items() if ref.startswith("ouro/")}
    assert made.type(f"python -c '{KEYS}'", tmp_path).strip() == str(here)
