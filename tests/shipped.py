"""The pipelines that this repository ships, by name: a person's own, beside them in specs/, are not tested here.

A person's pipelines have snapshots of their own, by `pytest --stages`.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.spec import nodes
from stages.spec.names import NOT_PIPELINES
from stages.spec.project import Project

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ("kimi_vl", "llama31_1m", "ouro")
VARIANTS = ("kimi_vl_seed004", "llama31_1m_seed001", "ouro_seed003")
PIPELINES = tuple(sorted((*PUBLISHED, *VARIANTS)))


def project() -> Project:
    """The repository's project, as if no other pipelines were there."""
    found = Project.load(ROOT)
    found.files._pipelines = list(PIPELINES)
    return found


@contextmanager
def parsed_once() -> Iterator[None]:
    """Files that did not change are parsed once, in whatever folder they are: what is parsed is what a file says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "parse", functools.cache(nodes.parse))
        yield


def copy(folder: Path) -> Path:
    """The shipped specs as `folder`/specs; returns `folder`."""
    return copy_specs(ROOT / "specs", folder)


def copy_specs(specs: Path, folder: Path) -> Path:
    """Specs without pipelines of other names, as `folder`/specs; returns `folder`."""

    def others(parent: str, names: list[str]) -> set[str]:
        return set(names) - {*PIPELINES, *NOT_PIPELINES} if Path(parent) == specs else set()

    shutil.copytree(specs, folder / "specs", ignore=others)
    return folder
