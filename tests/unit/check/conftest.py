"""The shipped specs, resolved once: checks are tried on copies with one thing changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from stages.check.context import Context
from stages.check.run import make_context
from stages.spec.project import Project
from tests.mutants.campaign.trial import Bench
from tests.shipped import copy, parsed_once

ROOT = Path(__file__).parents[3]


class Shipped(Protocol):
    def __call__(self, pipeline: str, scale: str = "mini") -> Context: ...


@pytest.fixture(scope="package", autouse=True)
def files_read_once() -> Iterator[None]:
    """Most tests load a copy of all specs with one file changed: the others are parsed once."""
    with parsed_once():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project of its own with the shipped specs."""
    return copy(tmp_path)


@pytest.fixture(scope="session")
def project() -> Project:
    return Project.load(ROOT)


@pytest.fixture(scope="session")
def shipped(project: Project) -> Shipped:
    """The context of a shipped pipeline at a scale."""
    known: dict[tuple[str, str], Context] = {}

    def context(pipeline: str, scale: str = "mini") -> Context:
        if (pipeline, scale) not in known:
            known[pipeline, scale] = make_context(project, pipeline, scale)
        return known[pipeline, scale]

    return context


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The shipped specs resolved, to be asked about one edit after the other."""
    return Bench(copy(tmp_path_factory.mktemp("shipped") / "project"))
