from __future__ import annotations

from pathlib import Path

import pytest

from stages.spec.project import Project

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def project() -> Project:
    """The shipped specs."""
    return Project.load(ROOT)
