"""The NeMo engine's environment: its pins agree with those of the project."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.engines.nemo import pinned
from stages.errors import UserError

ROOT = Path(__file__).parents[3]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)(?:  # not as in constraints\.txt: (\S.*))?$")


def pins(name: str) -> dict[str, tuple[str, str | None]]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if line and not line.startswith("#") for match in [PIN.fullmatch(line)] if match]
    assert len(found) == len([line for line in lines if line and not line.startswith("#")]), "a line is no pin"
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): (match[2], match[3]) for match in found}


def test_a_package_of_both_environments_has_one_version_or_a_reason() -> None:
    nemo, project = pins("requirements-nemo.txt"), pins("constraints.txt")
    both = nemo.keys() & project.keys()
    assert len(both) > 50
    assert [name for name in both if (nemo[name][0] != project[name][0]) != (nemo[name][1] is not None)] == []


def test_the_engine_is_the_one_that_its_texts_name() -> None:
    nemo = pins("requirements-nemo.txt")
    assert (nemo["megatron-bridge"][0], nemo["megatron-core"][0]) == ("0.6.2", "0.19.2")
    assert {name.replace(".", "-"): one for name, one in pinned.VERSIONS.items()} == {
        "megatron-bridge": "0.6.2", "megatron-core": "0.19.2"
    }  # fmt: skip


@pytest.mark.parametrize(("module", "found"), [("megatron.core", "0.19.3"), ("megatron.bridge", "0.6.2rc1")])
def test_another_release_is_refused_before_anything_is_built(
    module: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in {**pinned.VERSIONS, module: found}.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__=version))
    with pytest.raises(UserError, match=rf"tiny/box: engine nemo: {module} in \S+ is {found}; allowed: "):
        pinned.check("tiny/box")


def test_a_commit_behind_a_version_is_the_same_release(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, version in pinned.VERSIONS.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__=f"{version}+0123abc"))
    pinned.check("tiny/box")
